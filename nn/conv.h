#pragma once
// A convolution with an optional norm and ReLU after it, under Detectron2's names: "weight" [O, C / groups, k, k],
// "bias" [O] (without a norm), "norm.weight", "norm.bias", and a batch norm's "norm.running_mean", "norm.running_var".

#include <memory>
#include <optional>

#include "usol/nn/context.h"
#include "usol/nn/init.h"
#include "usol/nn/norm.h"
#include "usol/nn/param_store.h"
#include "usol/ops/cast.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/conv_transpose2d.h"

namespace usol::nn {

/// How a Conv2d differs from a plain one.
struct ConvConfig {
  std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
  NormKind norm = NormKind::kNone;
  bool bias = true;  // only where there is no norm
  bool relu = false;
  Initializer init = init::kaiming_normal_fan_out();
};

class Conv2d {
 public:
  Conv2d(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel, const ConvConfig& config = {});

  /// x [N, in, H, W] -> [N, out, H', W'], channels last in memory; weight and bias are cast to x's dtype. A batch norm
  /// with fixed statistics (frozen, or not training) is folded into the convolution; where no parameter wants a
  /// gradient, the folded weight is kept until one of them changes.
  Tensor operator()(const Tensor& x, const Context& context) const;
  /// [relu] (y + conv(x)) for y of the result's shape. Overwrites and returns y's memory where no gradient is recorded:
  /// y must be the caller's own.
  Tensor add_to(const Tensor& y, const Tensor& x, const Context& context) const;

  /// Stops the gradients of weight, bias and norm, and makes a batch norm a frozen one.
  void freeze();

  Tensor weight, bias;  // bias is undefined with a norm
  std::optional<Norm> norm;

 private:
  struct Kernel {
    Tensor weight, bias;
  };
  struct KernelCache;

  bool parameters_want_gradient() const;
  /// True if the norm cannot be folded: it depends on what it normalises.
  bool norm_follows(const Context& context) const;
  /// What to convolve with where no norm follows: weight and bias, a batch norm folded into them, in this dtype.
  Kernel kernel(DType dtype) const;
  Tensor run(const Tensor& x, const Context& context, bool relu) const;

  Conv2dOptions options_;
  std::shared_ptr<KernelCache> cache_;
};

/// A transposed convolution: "weight" [in, out, k, k], "bias" [out].
struct ConvTranspose2d {
  Tensor weight, bias;
  ConvTranspose2dOptions options;

  ConvTranspose2d(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                  bool relu = false, const Initializer& init = init::kaiming_normal_fan_out())
      : weight(scope.parameter("weight", {in, out, kernel, kernel}, init)),
        bias(scope.parameter("bias", {out}, init::zeros())) {
    options.stride = {stride, stride};
    options.relu = relu;
  }
  /// x [N, in, H, W] -> [N, out, H', W']; weight and bias are cast to x's dtype.
  Tensor operator()(const Tensor& x) const {
    return conv_transpose2d(x, cast(weight, x.dtype()), cast(bias, x.dtype()), options);
  }
};

}  // namespace usol::nn
