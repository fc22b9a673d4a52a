#pragma once
// Overlap of every box with every other: what matching, sampling and DropLoss are made of.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Intersection over union of boxes a [M, 4] and b [N, 4], each x0 y0 x1 y1 in pixels: [M, N] in the boxes' floating
/// dtype. Two boxes that do not overlap, empty ones included, give 0. No gradient. Throws Error on other shapes and
/// dtypes, or when the two differ in dtype or device.
Tensor pairwise_iou(const Tensor& a, const Tensor& b);

/// a [M, 4], b [N, 4], out [M, N]; all dense, of one floating dtype; computed in the accumulator type.
extern Kernel<void(const Tensor& a, const Tensor& b, Tensor& out)> pairwise_iou_kernel;

}  // namespace usol
