#pragma once
// Convolution with 3 x 3 kernels in a quarter of the multiplications, for inference on the CPU.

#include "usol/ops/conv2d.h"

namespace usol {

/// True for what conv2d_winograd() takes and is faster at: f32, 3 x 3, stride, dilation and groups of 1, channels in
/// multiples of 16 and enough of them, and enough pixels.
bool winograd_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& options, const Tensor& out);

/// conv2d_kernel's contract, for what winograd_fits(). Must equal the plain kernel up to rounding, which is about three
/// times as large: 3e-7 of the largest result on average, 2e-6 at most. The transformed weight (four times its size) is
/// kept while the weight lives and is unchanged.
/// Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", F(4 x 4, 3 x 3), with the points
/// 0, +-3/4, +-3/2 instead of 0, +-1, +-2: a third of the error.
void conv2d_winograd(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                     bool accumulate, Tensor& out);

}  // namespace usol
