#pragma once
// Two-dimensional convolution, with bias and ReLU fused. Results lie in memory as [N, H, W, C] (tensor/layout.h), which
// is what the next convolution and every library here are fastest with.

#include <array>
#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// PyTorch's arguments of the same names; pairs are (height, width), in pixels.
struct Conv2dOptions {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool relu = false;  // max(., 0) of the result
};

/// x [N, C, H, W], weight [O, C / groups, kh, kw], bias [O] or undefined -> [N, O, H', W'],
/// H' = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down. One floating dtype; x in any memory order,
/// N may be 0. Gradients to x, weight and bias. Throws Error on shapes, dtypes or devices that do not fit, and where
/// the kernel is larger than the padded map.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv2dOptions& options = {});

/// y = [relu] (y + conv2d(x)), in place: the residual branches of inference. y lies in memory as [N, H', W', O]. Throws
/// Error where a gradient would be lost (recording is on and any argument wants one) and on shapes that do not fit.
void conv2d_add_into(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                     const Conv2dOptions& options = {});

/// Size of the result along one axis (0: height, 1: width); less than 1 where the kernel does not fit.
std::int64_t conv2d_size(std::int64_t size, std::int64_t kernel, const Conv2dOptions& options, int axis);

// The kernels. Maps (x, grad, out of the first two) lie in memory as [N, H, W, C], weights and their gradients are
// dense, bias is [O] or undefined; nothing is empty.

/// out = [relu] (conv2d(x) + bias + (accumulate ? out : 0)).
extern Kernel<void(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                   bool accumulate, Tensor& out)>
    conv2d_kernel;
/// The gradient of x: out [N, C, H, W] from grad [N, O, H', W']. Forward kernel of conv_transpose2d too, hence
/// out = [relu] (. + bias), bias [C].
extern Kernel<void(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                   Tensor& out)>
    conv2d_grad_input_kernel;
/// The gradient of the weight: out [O, C / groups, kh, kw].
extern Kernel<void(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out)>
    conv2d_grad_weight_kernel;

}  // namespace usol
