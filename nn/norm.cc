#include "nn/norm.h"

#include "autograd/tape.h"
#include "ops/elementwise.h"
#include "tensor/check.h"

namespace usol::nn {

NormKind parse_norm_kind(std::string_view text) {
  if (text.empty()) return NormKind::kNone;
  if (text == "FrozenBN") return NormKind::kFrozenBn;
  if (text == "BN") return NormKind::kBn;
  if (text == "SyncBN") return NormKind::kSyncBn;
  fail(ErrorKind::kUsage, fmt::format("norm: expected '', FrozenBN, BN or SyncBN, got '{}'", text));
}

BatchNorm::BatchNorm(const Scope& scope, std::int64_t channels, NormKind norm_kind) : kind(norm_kind) {
  check(kind != NormKind::kNone, "batch_norm: there is no layer for 'no norm'");
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
    Tensor mean = running_mean, variance = running_var;  // handles: the module's own memory is updated
    return batch_norm_train(x, weight, bias, mean, variance,
                            {momentum, epsilon, relu_after, kind == NormKind::kSyncBn ? context.ranks : nullptr});
  }
  const Tensor y = batch_norm_infer(x, weight, bias, running_mean, running_var, epsilon);
  return relu_after ? relu(y) : y;
}

void BatchNorm::freeze() {
  kind = NormKind::kFrozenBn;
  set_requires_grad(weight, false);
  set_requires_grad(bias, false);
}

}  // namespace usol::nn
