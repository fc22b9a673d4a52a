#pragma once
// Convolution in bf16 with 3 x 3 kernels in 4 / 9 of the multiplications, for inference on CPUs with AVX512-BF16.

#include "usol/ops/bf16_products.h"
#include "usol/ops/conv2d.h"

namespace usol {

/// True for what conv2d_winograd_bf16() takes and is faster at than oneDNN with AVX512-BF16: bf16, 3 x 3, stride,
/// dilation and groups of 1, inputs in multiples of 16 and outputs in multiples of 64, 128 of both at least, and enough
/// pixels.
bool winograd_bf16_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& options, const Tensor& out);

/// conv2d_kernel's contract, for what winograd_bf16_fits(). Transforms, sums, bias and ReLU are f32; the transformed
/// map and weight are rounded to bf16, and so is the result. The largest error against f64 is 4e-3 to 5.2e-3 of the
/// largest result, where rounding the result alone gives 2e-3 to 3.4e-3. The transformed weight (16 / 9 of its size) is
/// kept while the weight lives and is unchanged. The result does not depend on the thread count. Source: Lavin & Gray
/// 2016, "Fast algorithms for convolutional neural networks", F(2 x 2, 3 x 3). F(4 x 4, 3 x 3), the one of f32, would
/// be off by 1.5e-2 and more here.
void conv2d_winograd_bf16(const Bf16Products& products, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Conv2dOptions& options, bool accumulate, Tensor& out);

}  // namespace usol
