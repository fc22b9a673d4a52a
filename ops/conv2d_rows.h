#pragma once
// A convolution as products of matrices: every output pixel's neighbourhood becomes a row. The CPU's path for dtypes
// and builds without oneDNN, and the statement of what the others must equal.

#include "usol/ops/conv2d.h"

namespace usol {

// Arguments as those of the kernels in ops/conv2d.h, on the CPU, in any floating dtype (f16 and bf16 through f32).
void conv2d_rows(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                 bool accumulate, Tensor& out);
void conv2d_grad_input_rows(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                            Tensor& out);
void conv2d_grad_weight_rows(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out);

}  // namespace usol
