#pragma once
// Sums, means and maxima over dimensions.

#include <vector>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

enum class ReduceOp { kSum, kMax };

/// Sum over `dims` (empty: all of them); keepdim leaves them as size 1. Floating; f16, bf16 and f32 sum in f32, each
/// output in a fixed order whatever the thread count. Gradient to a. Throws Error on a repeated or missing dimension.
Tensor sum(const Tensor& a, const std::vector<int>& dims = {}, bool keepdim = false);
/// Mean over `dims`. Throws Error over zero elements.
Tensor mean(const Tensor& a, const std::vector<int>& dims = {}, bool keepdim = false);
/// Largest value over `dims`, at least one element each; NaN wins. Gradient shared equally between ties.
Tensor amax(const Tensor& a, const std::vector<int>& dims = {}, bool keepdim = false);
/// The inverse of broadcasting: sums `a` down to `shape`. No gradient; for gradients of broadcasting ops.
Tensor sum_to(const Tensor& a, const Shape& shape);

/// in: [outer, reduced] (any strides); out: [outer] dense.
extern Kernel<void(ReduceOp op, const Tensor& in, Tensor& out)> reduce_kernel;

}  // namespace usol
