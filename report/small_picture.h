#pragma once
// Pictures and masks in few bytes, for pages that hold a thousand of them: JPEG within a limit, outlines as SVG paths.
// Place: under report/report.h.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "usol/io/rle.h"
#include "usol/tensor/tensor.h"

namespace usol::report {

/// A JPEG of the picture (u8 [H, W, 3]) of at most `bytes` bytes: as large and as good as fits, its long side at most
/// `longest_px`. What fits in no way becomes 16 pixels long, whatever it takes (some 700 bytes).
std::vector<std::byte> jpeg_within(const Tensor& image, std::size_t bytes, std::int64_t longest_px);

/// The grid that outlines are drawn on: the picture's ratio, its long side kOutlineUnits.
inline constexpr std::int64_t kOutlineUnits = 640;
struct OutlineGrid {
  std::int64_t height = 0, width = 0;
};
OutlineGrid outline_grid(std::int64_t image_height, std::int64_t image_width);

/// The outline of a mask u8 [H, W] as the `d` of an SVG path (even-odd) in whole units of the grid, within about
/// `tolerance` units. Objects that are lost on the grid become the rectangle of their box. Empty for an empty mask.
std::string outline_path(const Tensor& mask, const OutlineGrid& grid, double tolerance);
/// The path of a box (pixels of the picture of that size).
std::string box_path(const io::Box& box, std::int64_t image_height, std::int64_t image_width, const OutlineGrid& grid);

/// Paths of objects, best first, within `bytes` together: coarser where they are too long, then the worst are left out
/// (their paths are empty). Returns how many were.
struct OutlinedObject {
  io::Rle mask;   // of the picture's size; without counts: the box alone
  io::Box box{};  // pixels
  std::string path;
};
std::int64_t outline_within(std::span<OutlinedObject> objects, std::int64_t image_height, std::int64_t image_width,
                            std::size_t bytes);

}  // namespace usol::report
