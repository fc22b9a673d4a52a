#pragma once
// Convolution with 3 x 3 kernels in a quarter of the multiplications on the CPU: for inference, and for gradients.
// Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", F(4 x 4, 3 x 3), with the points
// 0, +-3/4, +-3/2 instead of 0, +-1, +-2: a third of the error.

#include "usol/ops/conv2d.h"

namespace usol {

/// True for what conv2d_winograd() takes and is faster at: f32, 3 x 3, stride, dilation and groups of 1, channels in
/// multiples of 16 and enough of them, and enough pixels.
bool winograd_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& options, const Tensor& out);

/// conv2d_kernel's contract, for what winograd_fits(). Must equal the plain kernel up to rounding, which is about three
/// times as large: 3e-7 of the largest result on average, 2e-6 at most. The transformed weight (four times its size) is
/// kept while the weight lives and is unchanged.
void conv2d_winograd(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                     bool accumulate, Tensor& out);

/// True for gradients that the two functions below take and are faster at, x, weight and y being those of the
/// convolution: what winograd_fits(), with a padding of at most 2 and more pixels.
bool winograd_grad_fits(const Tensor& x, const Tensor& weight, const Tensor& y, const Conv2dOptions& options);

/// conv2d_grad_input_kernel's contract without bias and ReLU: the convolution of grad with turned kernels. Its rounding
/// is conv2d_winograd()'s. Nothing is kept: weights change from step to step.
void conv2d_winograd_grad_input(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, Tensor& out);

/// conv2d_grad_weight_kernel's contract: each of 36 numbers a pair of channels is a sum over all tiles, and the nine of
/// the gradient are made of them. The same bits with any number of threads.
void conv2d_winograd_grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out);

}  // namespace usol
