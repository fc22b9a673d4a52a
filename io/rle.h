#pragma once
// Run-length encoded masks: COCO's format for segmentations, and arithmetic on it without decoding.
// Place: every mask that leaves or enters a file passes through here; evaluation works on runs throughout.
// Source: COCO API, common/maskApi.h (the format); results are held equal to pycocotools'.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::io {

/// A binary mask as run lengths, column by column (down the first column, then the next): the first count is the
/// number of zeros (it may be 0), the second of ones, and so on. The counts add up to height * width.
struct Rle {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint32_t> counts;

  bool operator==(const Rle&) const = default;
};

/// Left, top, width, height in pixels; pixel (0, 0) covers [0, 1) x [0, 1).
using Box = std::array<double, 4>;

// ---- masks ----
/// Runs of a mask [H, W], u8 or bool, any strides; nonzero is foreground. Throws Error if H * W exceeds 2^32 - 1.
Rle rle_encode(const Tensor& mask);
/// The mask as u8 [H, W] of 0 and 1. Throws Error if the counts do not add up to height * width.
Tensor rle_decode(const Rle& rle);

// ---- files ----
/// Takes counts as they stand in a file. Throws Error(kFormat) unless they add up to height * width.
Rle rle_from_counts(std::vector<std::uint32_t> counts, std::int64_t height, std::int64_t width);
/// Parses COCO's compressed counts (5 bits a character, from '0'; runs after the third as differences to the run two
/// before). Throws Error(kFormat) with the offset for a bad character, a cut-off or negative run, or a wrong sum.
Rle rle_from_string(std::string_view text, std::int64_t height, std::int64_t width);
/// As rle_from_string, into a vector that keeps its memory.
void rle_counts_from_string(std::string_view text, std::int64_t height, std::int64_t width,
                            std::vector<std::uint32_t>& counts);
/// COCO's compressed counts.
std::string rle_to_string(const Rle& rle);

// ---- shapes ----
/// What a polygon needs at least, and how far from the image its points may lie.
inline constexpr std::size_t kMinPolygonValues = 6;
inline constexpr double kMaxPolygonCoordinate = 1e7;
/// Union of polygons, each x0 y0 x1 y1 ... in pixels, as pycocotools rasterises it (edges sampled at five times the
/// resolution). Throws Error(kFormat) for an odd number of values, fewer than three points, or a coordinate that is
/// not finite or beyond 1e7.
Rle rle_from_polygons(std::span<const std::vector<double>> polygons, std::int64_t height, std::int64_t width);
/// The polygon of the box's four corners, rasterised.
Rle rle_from_box(const Box& box, std::int64_t height, std::int64_t width);

// ---- arithmetic ----
/// Number of foreground pixels.
std::int64_t rle_area(std::span<const std::uint32_t> counts);
inline std::int64_t rle_area(const Rle& rle) { return rle_area(rle.counts); }
/// Tight box, as pycocotools computes it (a run that spans columns takes their full height); zeros for an empty mask.
Box rle_to_box(const Rle& rle);
enum class MaskMerge { kUnion, kIntersection };
/// Union or intersection of all masks; an empty Rle for none. Throws Error if sizes differ.
Rle rle_merge(std::span<const Rle> masks, MaskMerge how);

/// IoU of every detection with every truth, row-major [D, G]. For a crowd truth (is_crowd[g] != 0) the denominator is
/// the detection's own area. `is_crowd` is empty or holds G values. Throws Error if sizes differ.
std::vector<double> rle_iou(std::span<const Rle> detections, std::span<const Rle> truths,
                            std::span<const std::uint8_t> is_crowd = {});
/// As rle_iou, for boxes.
std::vector<double> box_iou(std::span<const Box> detections, std::span<const Box> truths,
                            std::span<const std::uint8_t> is_crowd = {});

}  // namespace usol::io
