#pragma once
// A fully connected layer without bias whose rows have a length of their own: weight = g v / |v|, row by row.
// Source: Salimans & Kingma 2016, "Weight Normalization"; PyTorch's weight_norm, whose names these are.

#include <cmath>
#include <cstdint>

#include "usol/nn/init.h"
#include "usol/nn/param_store.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/tensor.h"

namespace usol::nn {

/// x / max(|x|, 1e-12) over the last dimension, as PyTorch's normalize. Gradient to x.
inline Tensor unit_rows(const Tensor& x) {
  constexpr double kLeast = 1e-12;
  const Tensor squares = sum(mul(x, x), {-1}, true);
  return div(x, sqrt(maximum(squares, Tensor::full({1}, kLeast * kLeast, x.dtype(), x.device()))));
}

/// "weight_g" [out, 1], "weight_v" [out, in], f32.
struct WeightNormLinear {
  Tensor weight_g, weight_v;

  /// `fixed_gain`: weight_g stays 1, as a buffer. weight_v starts as PyTorch's Linear does, U(-b, b) with
  /// b = 1 / sqrt(in).
  WeightNormLinear(const Scope& scope, std::int64_t in, std::int64_t out, bool fixed_gain)
      : weight_g(fixed_gain ? scope.buffer("weight_g", {out, 1}, init::ones())
                            : scope.parameter("weight_g", {out, 1}, init::ones())),
        weight_v(scope.parameter("weight_v", {out, in}, init::uniform(1 / std::sqrt(static_cast<double>(in))))) {}
  /// x [..., in] -> [..., out] in x's dtype.
  Tensor operator()(const Tensor& x) const { return linear(x, cast(mul(weight_g, unit_rows(weight_v)), x.dtype())); }
};

}  // namespace usol::nn
