#pragma once
// Views that gradients flow through: the differentiable counterparts of Tensor's own methods, with their arguments and
// errors. No elements are copied on the way forward (reshape copies where no view exists).

#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

/// Any dtype; gradients for floating ones.
Tensor reshape(const Tensor& a, const Shape& shape);
Tensor transpose(const Tensor& a, int dim0, int dim1);
Tensor permute(const Tensor& a, const std::vector<int>& dims);
/// Elements [start, end) of `dim` in steps; the gradient of the others is zero.
Tensor slice(const Tensor& a, int dim, std::int64_t start, std::int64_t end, std::int64_t step = 1);
/// Drops `dim` at `index` (negative counts from the back).
Tensor select(const Tensor& a, int dim, std::int64_t index);
/// Broadcast view; the gradient sums over the repeats.
Tensor expand(const Tensor& a, const Shape& shape);
Tensor squeeze(const Tensor& a, int dim);
Tensor unsqueeze(const Tensor& a, int dim);
/// A dense copy (itself if it is dense). Gradient passes through.
Tensor contiguous(const Tensor& a);

}  // namespace usol
