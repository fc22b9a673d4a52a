#pragma once
// Which pixels a box stands for where it becomes a mask, is cut out to be shown or is written in whole numbers.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace usol::io {

/// Pixels [first, end) of a row or column.
struct PixelSpan {
  std::int64_t first = 0, end = 0;

  std::int64_t size() const { return end - first; }
};

/// Those between two edges that are whole numbers, limited to the `size` (1 at least) pixels that there are, one at
/// least.
inline PixelSpan pixels_between(double first_edge, double end_edge, std::int64_t size) {
  const auto most = static_cast<double>(size);
  const double first = std::clamp(first_edge, 0.0, most - 1);
  return {static_cast<std::int64_t>(first), static_cast<std::int64_t>(std::clamp(end_edge, first + 1, most))};
}

/// Those whose centres lie between `from` and `from` + `length`, the far one included, the near one not: edges are
/// rounded, halves up, so that a box of whole sides keeps them wherever it lies. It is how rle_from_box() rasterises.
inline PixelSpan whole_pixels(double from, double length, std::int64_t size) {
  return pixels_between(std::round(from), std::round(from + length), size);
}

}  // namespace usol::io
