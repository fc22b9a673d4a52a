#pragma once
// Convolution in bf16 with 3 x 3 kernels in 4 / 9 of the multiplications, and its gradients, on CPUs with
// AVX512-BF16.

#include "usol/ops/bf16_products.h"
#include "usol/ops/conv2d.h"

namespace usol {

/// True for what conv2d_winograd_bf16() takes and is faster at than oneDNN with AVX512-BF16: bf16, 3 x 3, stride,
/// dilation and groups of 1, inputs in multiples of 16 and outputs in multiples of 64, 128 of both at least, and enough
/// pixels.
bool winograd_bf16_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& options, const Tensor& out);

/// conv2d_kernel's contract, for what winograd_bf16_fits(). Transforms, sums, bias and ReLU are f32; the transformed
/// map and weight are rounded to bf16, and so is the result. The largest error against f64 is 4e-3 to 5.2e-3 of the
/// largest result, where rounding the result alone gives 2e-3 to 3.4e-3. In inference (recording is off) the
/// transformed weight (16 / 9 of its size) is kept while the weight lives and is unchanged. The result does not depend
/// on the thread count. Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", F(2 x 2, 3 x
/// 3). F(4 x 4, 3 x 3), the one of f32, would be off by 1.5e-2 and more here.
void conv2d_winograd_bf16(const Bf16Products& products, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Conv2dOptions& options, bool accumulate, Tensor& out);

/// True for gradients that the two functions below take and are faster at, x, weight and y being those of the
/// convolution: what winograd_bf16_fits(), inputs in multiples of 64 too, a padding of at most 2.
bool winograd_bf16_grad_fits(const Tensor& x, const Tensor& weight, const Tensor& y, const Conv2dOptions& options);

/// conv2d_grad_input_kernel's contract without bias and ReLU: the convolution of grad with turned kernels, with the
/// rounding of conv2d_winograd_bf16(). Nothing is kept: weights change from step to step.
void conv2d_winograd_bf16_grad_input(const Bf16Products& products, const Tensor& grad, const Tensor& weight,
                                     const Conv2dOptions& options, Tensor& out);

/// conv2d_grad_weight_kernel's contract: each of 16 numbers a pair of channels is a sum over all tiles, and the nine of
/// the gradient are made of them. The same bits with any number of threads.
void conv2d_winograd_bf16_grad_weight(const Bf16Products& products, const Tensor& x, const Tensor& grad,
                                      const Conv2dOptions& options, Tensor& out);

}  // namespace usol
