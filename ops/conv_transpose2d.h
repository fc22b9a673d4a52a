#pragma once
// Transposed ("de-") convolution: the gradient of a convolution as an operation of its own. The mask head's 2 x 2 with
// stride 2 doubles a map.

#include <array>

#include "usol/ops/conv2d.h"

namespace usol {

/// PyTorch's arguments of the same names; pairs are (height, width), in pixels.
struct ConvTranspose2dOptions {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, output_padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  bool relu = false;  // max(., 0) of the result
};

/// x [N, C, H, W], weight [C, O / groups, kh, kw], bias [O] or undefined -> [N, O, H', W'],
/// H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. Lies in memory as [N, H', W', O]. One
/// floating dtype; N may be 0. Gradients to x, weight and bias. Throws Error on shapes, dtypes or devices that do not
/// fit, an output_padding not below the stride, and empty results.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTranspose2dOptions& options = {});

}  // namespace usol
