#pragma once
// A fully connected layer: "weight" [out, in], "bias" [out].

#include "usol/nn/init.h"
#include "usol/nn/param_store.h"
#include "usol/ops/cast.h"
#include "usol/ops/linear.h"

namespace usol::nn {

struct Linear {
  Tensor weight, bias;  // bias may be undefined

  Linear(const Scope& scope, std::int64_t in, std::int64_t out, bool with_bias = true,
         const Initializer& init = init::trunc_normal(0.02f))
      : weight(scope.parameter("weight", {out, in}, init)) {
    if (with_bias) bias = scope.parameter("bias", {out}, init::zeros());
  }
  /// x [..., in] -> [..., out]; weight and bias are cast to x's dtype.
  Tensor operator()(const Tensor& x, Activation activation = Activation::kNone) const {
    return linear(x, cast(weight, x.dtype()), bias.defined() ? cast(bias, x.dtype()) : bias, activation);
  }
};

}  // namespace usol::nn
