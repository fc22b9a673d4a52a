#pragma once
// Layer normalisation over the last dimension.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// (x - mean) / sqrt(var + epsilon) * weight + bias per row of the last dimension: x [..., C], weight and bias [C], one
/// floating dtype; biased variance; statistics in f32 (f64 for f64). Gradients to x, weight and bias.
/// Throws Error on shapes or dtypes that do not fit. Source: Ba et al. 2016.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon = 1e-5);

/// x and out [R, C] dense; mean and rstd [R] in the accumulator type receive the row statistics.
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, Tensor& out, Tensor& mean,
                   Tensor& rstd)>
    layer_norm_kernel;
/// grad_x [R, C]; grad_weight, grad_bias [C] in the accumulator type, summed over rows in a fixed order.
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd, const Tensor& grad,
                   Tensor& grad_x, Tensor& grad_weight, Tensor& grad_bias)>
    layer_norm_grad_kernel;

}  // namespace usol
