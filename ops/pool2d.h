#pragma once
// Max pooling. Results lie in memory as [N, H, W, C] (tensor/layout.h).

#include <array>
#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// PyTorch's arguments of the same names; pairs are (height, width), in pixels. Unlike there, stride has no default
/// that depends on the kernel.
struct MaxPool2dOptions {
  std::array<std::int64_t, 2> kernel{1, 1}, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  bool ceil_mode = false;  // also windows that begin inside the map (or its left padding) and end outside
};

/// Largest value of every window; padding never wins; NaN does. x [N, C, H, W] floating -> [N, C, H', W'],
/// H' = (H + 2 padding - dilation (kernel - 1) - 1) / stride + 1, rounded down (up with ceil_mode). N may be 0.
/// Gradient to x, whole to the first of equal values. Throws Error on other ranks or dtypes, padding over half the
/// kernel, and where no window fits. A kernel of 1 with stride 2 takes every second pixel.
Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options);

/// x [N, C, H, W] and out [N, C, H', W'] lie in memory as [N, H, W, C]; not empty. `index`, i32 like out, receives
/// h W + w of the value taken; it may be undefined.
extern Kernel<void(const Tensor& x, const MaxPool2dOptions& options, Tensor& out, Tensor& index)> max_pool2d_kernel;
/// out [N, C, H, W]: the sum of grad [N, C, H', W'] over the windows that took the pixel. All channels last.
extern Kernel<void(const Tensor& grad, const Tensor& index, const MaxPool2dOptions& options, Tensor& out)>
    max_pool2d_grad_kernel;

}  // namespace usol
