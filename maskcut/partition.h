#pragma once
// From the second eigenvector to one object: which patches are foreground, and which of them belong together.
// Source: Wang et al. 2023 (MaskCut), section 3.2.

#include <cstdint>

#include "usol/models/preset.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct Partition {
  Tensor foreground;          // u8 [h, w]
  Tensor object;              // u8 [h, w]: the component of the foreground that holds the seed; may be empty (paper)
  std::int64_t seed = 0;      // row-major patch of the largest x, or of the smallest when complemented
  bool complemented = false;  // the foreground is the side of the smaller values
};

/// Splits the map at the mean of x (f64 [h, w], canonical sign: the element of largest magnitude is positive).
/// paper: x >= mean is foreground if fewer than two of the map's corners are in it (the patch of largest magnitude
/// always is), else its complement. release: x > mean; the complement if three or more corners are in it, or if the
/// patch of largest magnitude is not. A corner of a map one patch wide counts once for each corner it is.
/// Throws Error unless x is f64 [h, w] with h, w >= 1.
Partition partition(const Tensor& x, Preset preset);

}  // namespace usol::maskcut
