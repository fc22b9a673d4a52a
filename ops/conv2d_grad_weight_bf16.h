#pragma once
// Gradients of weights in bf16, for training on CPUs with AVX512-BF16: of convolutions and of linear layers.

#include "usol/ops/bf16_products.h"
#include "usol/ops/conv2d.h"

namespace usol {

/// conv2d_grad_weight_kernel's contract for bf16, any kernel, stride, padding and dilation, without groups. The inner
/// dimension of the product is the result's pixels, two of them a pair. Sums are f32, rounded once: within 4e-3 of f64.
/// The result does not depend on the thread count.
void conv2d_grad_weight_bf16(const Bf16Products& products, const Tensor& x, const Tensor& grad,
                             const Conv2dOptions& options, Tensor& out);

/// The gradient of a linear layer's weight, by the same product: out [O, I] = grad [M, O]^T x [M, I], all dense bf16.
void linear_grad_weight_bf16(const Bf16Products& products, const Tensor& x, const Tensor& grad, Tensor& out);

}  // namespace usol
