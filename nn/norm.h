#pragma once
// Layer normalisation with its parameters: "weight" [C], "bias" [C].

#include "nn/init.h"
#include "nn/param_store.h"
#include "ops/layer_norm.h"

namespace usol::nn {

struct LayerNorm {
  Tensor weight, bias;
  double epsilon;

  LayerNorm(const Scope& scope, std::int64_t channels, double eps = 1e-6)
      : weight(scope.parameter("weight", {channels}, init::ones())),
        bias(scope.parameter("bias", {channels}, init::zeros())),
        epsilon(eps) {}
  /// x [..., C] -> the same shape.
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, epsilon); }
};

}  // namespace usol::nn
