#pragma once
// The first layer of a vision transformer: each patch of the picture becomes a token. "weight" [D, 3, p, p], "bias"
// [D]. Source: Dosovitskiy et al. 2021.

#include <cstdint>

#include "usol/nn/init.h"
#include "usol/nn/param_store.h"
#include "usol/ops/cast.h"
#include "usol/ops/linear.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::nn {

struct PatchEmbed {
  Tensor weight, bias;

  PatchEmbed(const Scope& scope, std::int64_t width, std::int64_t patch_px,
             const Initializer& init = init::trunc_normal(0.02f), const Initializer& bias_init = init::zeros())
      : weight(scope.parameter("weight", {width, 3, patch_px, patch_px}, init)),
        bias(scope.parameter("bias", {width}, bias_init)) {}

  /// images [N, 3, H, W], H and W multiples of the patch -> [N, H / p * W / p, D], row by row, in the images' dtype
  /// unless that is f32 and the weights' is not. Throws Error on other shapes.
  Tensor operator()(const Tensor& images) const {
    const std::int64_t p = weight.size(2), d = weight.size(0);
    check(images.rank() == 4 && images.size(1) == 3 && images.size(2) % p == 0 && images.size(3) % p == 0 &&
              images.size(2) > 0 && images.size(3) > 0,
          "vit: expected images [N, 3, H, W] with H and W multiples of {}, got {}", p, images.shape());
    const std::int64_t n = images.size(0), h = images.size(2) / p, w = images.size(3) / p;
    // A convolution whose stride is its kernel is a product with the patches as rows.
    const Tensor rows =
        reshape(permute(reshape(images, {n, 3, h, p, w, p}), {0, 2, 4, 1, 3, 5}), {n, h * w, 3 * p * p});
    const DType dtype = images.dtype() == DType::kF32 ? weight.dtype() : images.dtype();
    return linear(cast(rows, dtype), cast(reshape(weight, {d, 3 * p * p}), dtype), cast(bias, dtype));
  }
};

}  // namespace usol::nn
