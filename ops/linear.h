#pragma once
// Affine maps of the last dimension, with bias and activation fused into the product where no gradient is recorded.

#include "usol/ops/gemm.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// activation(x weight^T + bias): x [..., I], weight [O, I], bias [O] or undefined; result [..., O]. One floating
/// dtype. Gradients to x, weight and bias. Throws Error on shapes, dtypes or devices that do not fit.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              Activation activation = Activation::kNone);

/// y += x weight^T + bias, in place: the residual branches of inference. y [..., O], dense. Throws Error where a
/// gradient would be lost (recording is on and any argument wants one) and on shapes that do not fit.
void linear_add_into(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// out [M, O] = activation(x [M, I] weight^T + bias + (accumulate ? out : 0)); all dense.
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation, bool accumulate,
                   Tensor& out)>
    linear_kernel;

}  // namespace usol
