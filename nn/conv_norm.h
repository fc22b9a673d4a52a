#pragma once
// A convolution of a head or a pyramid, with Detectron2's "LN" after it if wanted: "weight", and "norm.weight",
// "norm.bias" with the norm or "bias" without.

#include <cstdint>
#include <optional>

#include "usol/nn/conv.h"
#include "usol/nn/norm.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/layer_norm.h"
#include "usol/ops/view.h"

namespace usol::nn {

/// The norm of x [..., C], its weight and bias cast to x's dtype.
inline Tensor normed(const LayerNorm& norm, const Tensor& x) {
  return layer_norm(x, cast(norm.weight, x.dtype()), cast(norm.bias, x.dtype()), norm.epsilon);
}

/// Maps x [N, C, H, W], normalised over the channels of each pixel. Best with channels last in memory, as the result
/// is.
inline Tensor norm_channels(const LayerNorm& norm, const Tensor& x) {
  return permute(normed(norm, permute(x, {0, 2, 3, 1})), {0, 3, 1, 2});
}

struct ConvNorm {
  Conv2d conv;
  std::optional<LayerNorm> norm;
  bool relu;

  /// Padded so that maps keep their size.
  ConvNorm(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel, bool with_norm, bool with_relu,
           const Initializer& init = init::kaiming_normal_fan_out())
      : conv(scope, in, out, kernel,
             {.padding = kernel / 2, .bias = !with_norm, .relu = with_relu && !with_norm, .init = init}),
        relu(with_relu) {
    if (with_norm) norm.emplace(scope / "norm", out);
  }
  /// x [N, in, H, W] -> [N, out, H, W], channels last in memory.
  Tensor operator()(const Tensor& x, const Context& context) const {
    const Tensor y = conv(x, context);
    if (!norm) return y;
    const Tensor z = norm_channels(*norm, y);
    return relu ? usol::relu(z) : z;
  }
};

}  // namespace usol::nn
