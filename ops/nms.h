#pragma once
// Non-maximum suppression: of overlapping boxes the one with the highest score stays.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Indices (i64) of the boxes [N, 4] that stay, by descending score; equal scores by ascending index, so the result is
/// the same on every device. In that order, a box stays unless its IoU with one that stays exceeds `threshold`. NaN
/// scores come first; an IoU of NaN suppresses nothing. f32 or f64, scores [N] of the same dtype. Waits for the device.
/// Throws Error on other shapes and dtypes.
Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold);
/// The same within each group (i64 [N]: class or level): boxes of different groups do not suppress each other. Equals
/// torchvision's batched_nms without the coordinate offsets, which round.
Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& groups, double threshold);

/// boxes [N, 4] and groups [N], both in order of descending score and dense; keep: bool [N].
extern Kernel<void(const Tensor& boxes, const Tensor& groups, double threshold, Tensor& keep)> nms_kernel;

}  // namespace usol
