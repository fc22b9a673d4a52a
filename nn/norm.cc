#include "usol/nn/norm.h"

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/group_norm.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::nn {
namespace {

std::variant<BatchNorm, GroupNorm, LayerNorm> make_norm(const Scope& scope, std::int64_t channels, NormKind kind) {
  check(kind != NormKind::kNone, "norm: there is no layer for 'no norm'");
  if (kind == NormKind::kGn) return GroupNorm(scope, channels);
  if (kind == NormKind::kLn) return LayerNorm(scope, channels);
  return BatchNorm(scope, channels, kind);
}

}  // namespace

Tensor norm_channels(const LayerNorm& norm, const Tensor& x) {
  return permute(normed(norm, permute(x, {0, 2, 3, 1})), {0, 3, 1, 2});
}

GroupNorm::GroupNorm(const Scope& scope, std::int64_t channels, std::int64_t group_count)
    : weight(scope.parameter("weight", {channels}, init::ones())),
      bias(scope.parameter("bias", {channels}, init::zeros())),
      groups(group_count) {
  check(groups > 0 && channels % groups == 0, "group_norm: expected channels that {} groups divide, got {}", groups,
        channels);
}

Tensor GroupNorm::operator()(const Tensor& x) const {
  return group_norm(x, cast(weight, x.dtype()), cast(bias, x.dtype()), groups, epsilon);
}

NormKind parse_norm_kind(std::string_view text) {
  if (text.empty()) return NormKind::kNone;
  if (text == "FrozenBN") return NormKind::kFrozenBn;
  if (text == "BN") return NormKind::kBn;
  if (text == "SyncBN") return NormKind::kSyncBn;
  if (text == "GN") return NormKind::kGn;
  if (text == "LN") return NormKind::kLn;
  fail(ErrorKind::kUsage, fmt::format("norm: expected '', FrozenBN, BN, SyncBN, GN or LN, got '{}'", text));
}

BatchNorm::BatchNorm(const Scope& scope, std::int64_t channels, NormKind norm_kind) : kind(norm_kind) {
  check(kind == NormKind::kFrozenBn || kind == NormKind::kBn || kind == NormKind::kSyncBn,
        "batch_norm: expected FrozenBN, BN or SyncBN, got another norm or none");
  const auto make = [&](const char* name, const Initializer& init) {
    return kind == NormKind::kFrozenBn ? scope.buffer(name, {channels}, init)
                                       : scope.wide_parameter(name, {channels}, init);
  };
  weight = make("weight", init::ones());
  bias = make("bias", init::zeros());
  running_mean = scope.buffer("running_mean", {channels}, init::zeros());
  // A fresh frozen norm is the identity.
  const double variance = kind == NormKind::kFrozenBn ? 1 - epsilon : 1;
  running_var = scope.buffer("running_var", {channels}, init::constant(static_cast<float>(variance)));
}

Tensor BatchNorm::operator()(const Tensor& x, const Context& context, bool relu_after) const {
  if (uses_batch(context)) {
    BatchNormOptions options{momentum, epsilon, relu_after, kind == NormKind::kSyncBn ? context.ranks : nullptr};
    Tensor mean = running_mean, variance = running_var;  // handles: the module's own memory is updated
    if (!context.statistics) return batch_norm_train(x, weight, bias, mean, variance, options);
    mean = Tensor::zeros(mean.shape(), mean.dtype(), mean.device());
    variance = Tensor::zeros(variance.shape(), variance.dtype(), variance.device());
    options.momentum = 1;
    Tensor y = batch_norm_train(x, weight, bias, mean, variance, options);
    Tensor count = Tensor::full({1}, static_cast<double>(x.numel() / x.size(1)), DType::kF64, x.device());
    if (options.ranks) options.ranks->all_reduce_sum(count);
    context.statistics->add(*this, count.item(), mean, variance);
    return y;
  }
  const Tensor y = batch_norm_infer(x, weight, bias, running_mean, running_var, epsilon);
  return relu_after ? relu(y) : y;
}

void BatchNorm::freeze() {
  kind = NormKind::kFrozenBn;
  set_requires_grad(weight, false);
  set_requires_grad(bias, false);
}

Norm::Norm(const Scope& scope, std::int64_t channels, NormKind kind) : norm_(make_norm(scope, channels, kind)) {}

Tensor Norm::operator()(const Tensor& x, const Context& context, bool relu_after) const {
  if (const BatchNorm* norm = batch()) return (*norm)(x, context, relu_after);
  const auto* layer = std::get_if<LayerNorm>(&norm_);
  const Tensor y = layer ? norm_channels(*layer, x) : std::get<GroupNorm>(norm_)(x);
  return relu_after ? relu(y) : y;
}

const Tensor& Norm::weight() const {
  return std::visit([](const auto& norm) -> const Tensor& { return norm.weight; }, norm_);
}

const Tensor& Norm::bias() const {
  return std::visit([](const auto& norm) -> const Tensor& { return norm.bias; }, norm_);
}

void Norm::freeze() {
  if (BatchNorm* norm = batch()) return norm->freeze();
  std::visit(
      [](auto& norm) {
        set_requires_grad(norm.weight, false);
        set_requires_grad(norm.bias, false);
      },
      norm_);
}

void NormStatistics::add(const BatchNorm& norm, double count, const Tensor& mean, const Tensor& variance) {
  const NoGrad no_grad;
  const Tensor m = mean.to(DType::kF64), v = variance.to(DType::kF64);
  Layer& layer = layers_[norm.running_mean.storage().get()];
  if (!layer.mean.defined()) {
    layer.running_mean = norm.running_mean;
    layer.running_var = norm.running_var;
    layer.mean = Tensor::zeros(m.shape(), DType::kF64, m.device());
    layer.square = layer.mean.clone();
  }
  layer.count += count;
  layer.mean = usol::add(layer.mean, affine(m, count));
  layer.square = usol::add(layer.square, affine(usol::add(affine(v, (count - 1) / count), mul(m, m)), count));
}

void NormStatistics::store() {
  const NoGrad no_grad;
  for (auto& [storage, layer] : layers_) {
    const Tensor mean = affine(layer.mean, 1 / layer.count);
    layer.running_mean.copy_from(mean);
    layer.running_var.copy_from(sub(affine(layer.square, 1 / layer.count), mul(mean, mean)));
  }
}

}  // namespace usol::nn
