#pragma once
// The smallest set that a detector can learn: a bright rectangle in each picture.

#include <cstdint>
#include <filesystem>
#include <vector>

namespace usol::test {

/// A picture's sides, and the rows [top, bottom) and columns [left, right) of its object.
struct RectanglePicture {
  std::int64_t height = 0, width = 0, top = 0, bottom = 0, left = 0, right = 0;
};

/// Writes p0.png, p1.png, ... and the truth as truth.json into `folder`.
void write_rectangles(const std::filesystem::path& folder, const std::vector<RectanglePicture>& pictures);

}  // namespace usol::test
