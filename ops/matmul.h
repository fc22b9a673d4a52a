#pragma once
// Matrix products of tensors: batched, with broadcasting, over transposed views without copies.

#include <cstdint>
#include <optional>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// a [..., m, k] times b [..., k, n] -> [..., m, n], dense. The leading dimensions broadcast together; both have at
/// least two dimensions, one floating dtype and one device. f16 and bf16 accumulate in f32. A transposed view is read
/// in place. Gradients to both. Throws Error when ranks, inner sizes, dtypes or devices do not fit.
Tensor matmul(const Tensor& a, const Tensor& b);

/// How the last two dimensions of a tensor lie in memory, as matrix products take them.
struct MatrixLayout {
  bool transposed = false;            // false: rows are dense, `leading` apart; true: columns are
  std::int64_t leading_elements = 0;  // at least the length of a dense row (column)
};
/// The layout of the last two dimensions, or nothing if neither is dense.
std::optional<MatrixLayout> matrix_layout(const Tensor& t);

/// out[i] = a[i] b[i] for every batch i. a [B..., m, k] and b [B..., k, n] have out's batch dimensions (rank >= 2, the
/// same rank) with any batch strides, 0 included; their last two dimensions have a matrix_layout. out is dense.
extern Kernel<void(const Tensor& a, const Tensor& b, Tensor& out)> matmul_kernel;

}  // namespace usol
