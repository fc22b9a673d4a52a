#pragma once
// The bf16 kernel of linear() on CPUs with the products of bf16_products.h.

#include <cstdint>

#include "usol/ops/bf16_products.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Whether linear_bf16() takes this many inputs: pairs of them are multiplied, so they must be even in number.
inline bool linear_bf16_takes(std::int64_t inputs) { return inputs > 0 && inputs % 2 == 0; }

/// out [M, O] = activation(x [M, I] weight^T + bias + (accumulate ? out : 0)), all dense bf16; I as above, bias [O] or
/// undefined. Sums, bias and activation are f32, rounded once. The weight is packed for it; in inference (recording is
/// off) that is kept while the weight lives and is unchanged. The result does not depend on the thread count.
void linear_bf16(const Bf16Products& products, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 Activation activation, bool accumulate, Tensor& out);

}  // namespace usol
