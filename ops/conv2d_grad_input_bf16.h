#pragma once
// Transposed convolution in bf16 as a linear layer of pixels, for inference on CPUs with AVX512-BF16.

#include "usol/ops/bf16_products.h"
#include "usol/ops/conv2d.h"

namespace usol {

/// True for what conv2d_grad_input_bf16() takes: bf16, a kernel as large as its stride, so that no two pixels of `grad`
/// reach one of `out`, and larger than 1 x 1, where oneDNN is faster; no padding, dilation or groups, an even number of
/// channels of `grad`.
bool grad_input_bf16_fits(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, const Tensor& out);

/// conv2d_grad_input_kernel's contract, for what grad_input_bf16_fits(): the mask head's transposed convolution. Sums,
/// bias and ReLU are f32, rounded once. The reordered weight is kept while the weight lives and is unchanged. The
/// result does not depend on the thread count.
void conv2d_grad_input_bf16(const Bf16Products& products, const Tensor& grad, const Tensor& weight, const Tensor& bias,
                            const Conv2dOptions& options, Tensor& out);

}  // namespace usol
