#pragma once
// The size of a picture, a map or a grid.

#include <cstdint>

namespace usol {

/// In pixels, cells or patches. 0 x 0 where it is not known.
struct Size {
  std::int64_t height = 0, width = 0;
  bool operator==(const Size&) const = default;
};

}  // namespace usol
