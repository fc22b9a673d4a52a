#pragma once
// Group normalisation: of each picture's map, by groups of channels. Unlike a batch norm it does not depend on the
// other pictures, so it suits small batches.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// (v - mean) / sqrt(var + epsilon) * weight + bias, mean and biased variance over the pixels and the C / groups
/// neighbouring channels of each group of each picture: x [N, C, H, W], weight and bias [C], one floating dtype. The
/// result lies in memory as [N, H, W, C]. Statistics are kept in f32 (f64 for f64). Gradients to x, weight and bias.
/// Throws Error on shapes, dtypes or devices that do not fit, groups that do not divide C, and maps without pixels.
/// Source: Wu & He 2018.
Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups,
                  double epsilon = 1e-5);

// The kernels work on x [N, P, C], dense: the P pixels of N pictures. Sums are f64 whatever the dtype, in an order that
// depends on shapes only.

/// out [N, P, C]; mean and rstd [N, groups] in the accumulator type receive the groups' statistics.
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups, double epsilon,
                   Tensor& out, Tensor& mean, Tensor& rstd)>
    group_norm_kernel;
/// grad_x [N, P, C]; sums [2, N, C] in the accumulator type, over pixels: of the gradient times the normalised x, and
/// of the gradient.
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd, const Tensor& grad,
                   std::int64_t groups, Tensor& grad_x, Tensor& sums)>
    group_norm_grad_kernel;

}  // namespace usol
