#pragma once
// The outline of a mask as polygons, for formats that know no run lengths.
// Place: ground truth in YOLO's format (io/yolo.h).

#include <array>
#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::io {

/// A closed ring of pixel corners (x, y): pixel (0, 0) has the corners (0, 0) to (1, 1). Only where the outline turns.
using Ring = std::vector<std::array<double, 2>>;

/// The outlines of a mask u8 [H, W] (nonzero is foreground): foreground is on the right of each step, so outer
/// outlines run clockwise (y down) and those of holes anticlockwise. Pixels that touch at a corner only belong to
/// different rings. In the order of their topmost, then leftmost corners. Filling all rings by the even-odd rule gives
/// back the mask. Throws Error on another dtype or rank.
std::vector<Ring> trace_outlines(const Tensor& mask);

/// One ring for formats that have one polygon per object: each ring is joined to the next by a bridge of no width
/// between their nearest points, walked there and back. Holes and separate parts survive: the even-odd rule fills the
/// same pixels. Empty for no rings.
Ring join_rings(const std::vector<Ring>& rings);

}  // namespace usol::io
