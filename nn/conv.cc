#include "usol/nn/conv.h"

#include <array>
#include <mutex>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/ready.h"

namespace usol::nn {

struct Conv2d::KernelCache {
  std::mutex mutex;
  std::array<std::uint64_t, 5> versions{};
  Kernel kernel;
  Ready ready;
};

Conv2d::Conv2d(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel, const ConvConfig& c)
    : weight(scope.parameter("weight", {out, in / c.groups, kernel, kernel}, c.init)),
      cache_(std::make_shared<KernelCache>()) {
  if (c.norm != NormKind::kNone)
    norm.emplace(scope / "norm", out, c.norm);
  else if (c.bias)
    bias = scope.parameter("bias", {out}, init::zeros());
  options_.stride = {c.stride, c.stride};
  options_.padding = {c.padding, c.padding};
  options_.dilation = {c.dilation, c.dilation};
  options_.groups = c.groups;
  options_.relu = c.relu;
}

void Conv2d::freeze() {
  set_requires_grad(weight, false);
  if (bias.defined()) set_requires_grad(bias, false);
  if (norm) norm->freeze();
}

bool Conv2d::parameters_want_gradient() const {
  return grad_enabled() && (requires_grad(weight) || (bias.defined() && requires_grad(bias)) ||
                            (norm && (requires_grad(norm->weight()) || requires_grad(norm->bias()))));
}

bool Conv2d::norm_follows(const Context& context) const {
  return norm && (!norm->batch() || norm->batch()->uses_batch(context));
}

// With gradients a new product each time. Without them the last one, if nothing was written to since; it is shared by
// all threads, whatever streams they work on.
Conv2d::Kernel Conv2d::kernel(DType dtype) const {
  if (!norm) return {cast(weight, dtype), bias.defined() ? cast(bias, dtype) : bias};
  const BatchNorm& n = *norm->batch();
  const auto make = [&]() -> Kernel {
    const BatchNormAffine map = batch_norm_affine(n.weight, n.bias, n.running_mean, n.running_var, n.epsilon);
    const Tensor scale = reshape(map.scale, {weight.size(0), 1, 1, 1});
    return {cast(mul(cast(weight, scale.dtype()), scale), dtype), cast(map.shift, dtype)};
  };
  if (parameters_want_gradient()) return make();
  const std::array<std::uint64_t, 5> versions{weight.storage()->version(), n.weight.storage()->version(),
                                              n.bias.storage()->version(), n.running_mean.storage()->version(),
                                              n.running_var.storage()->version()};
  const std::lock_guard lock(cache_->mutex);
  if (!cache_->kernel.weight.defined() || cache_->kernel.weight.dtype() != dtype || cache_->versions != versions) {
    cache_->kernel = make();
    cache_->ready = Ready(weight.device());
    cache_->versions = versions;
  }
  cache_->ready.use({cache_->kernel.weight, cache_->kernel.bias});
  return cache_->kernel;
}

Tensor Conv2d::run(const Tensor& x, const Context& context, bool relu) const {
  Conv2dOptions options = options_;
  if (norm_follows(context)) {
    options.relu = false;
    return (*norm)(conv2d(x, cast(weight, x.dtype()), {}, options), context, relu);
  }
  options.relu = relu;
  const Kernel k = kernel(x.dtype());
  return conv2d(x, k.weight, k.bias, options);
}

Tensor Conv2d::operator()(const Tensor& x, const Context& context) const { return run(x, context, options_.relu); }

Tensor Conv2d::add_to(const Tensor& y, const Tensor& x, const Context& context) const {
  const bool recorded = parameters_want_gradient() || (grad_enabled() && (requires_grad(x) || requires_grad(y)));
  if (recorded || norm_follows(context)) {
    const Tensor branch = run(x, context, false);
    return options_.relu ? add_relu(y, branch) : add(y, branch);
  }
  const Kernel k = kernel(x.dtype());
  Tensor sum = to_channels_last(y);
  conv2d_add_into(sum, x, k.weight, k.bias, options_);
  return sum;
}

}  // namespace usol::nn
