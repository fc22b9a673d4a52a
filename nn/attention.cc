#include "usol/nn/attention.h"

#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"
#include "usol/tensor/check.h"

namespace usol::nn {
namespace {

// 1 for queries and values, 0 for keys.
void all_but_keys(Tensor& mask, Generator&) {
  mask.fill(1);
  const std::int64_t width = mask.size(0) / 3;
  mask.slice(0, width, 2 * width).fill(0);
}

}  // namespace

Attention::Attention(const Scope& scope, std::int64_t width, std::int64_t head_count, const QkvBias& bias)
    : qkv(scope / "qkv", width, 3 * width, bias.there), proj(scope / "proj", width, width), heads(head_count) {
  check(heads > 0 && width % heads == 0, "attention: expected a width that {} heads divide, got {}", heads, width);
  if (bias.mask) bias_mask = (scope / "qkv").buffer("bias_mask", {3 * width}, all_but_keys);
}

Tensor Attention::qkv_bias() const {
  if (!bias_mask.defined() || !qkv.bias.defined()) return qkv.bias;
  return mul(qkv.bias, cast(bias_mask, qkv.bias.dtype()));
}

Tensor Attention::projected(const Tensor& x) const {
  const Tensor bias = qkv_bias();
  return linear(x, cast(qkv.weight, x.dtype()), bias.defined() ? cast(bias, x.dtype()) : bias);
}

Tensor Attention::mix(const Tensor& projected, const AttentionHooks& hooks) const {
  Tensor q = heads_of(projected, 0, heads), k = heads_of(projected, 1, heads);
  const Tensor v = heads_of(projected, 2, heads);
  const AttentionBias bias = hooks.bias ? hooks.bias(q) : AttentionBias{};
  if (hooks.rotate) {
    q = hooks.rotate(q);
    k = hooks.rotate(k);
  }
  return merged_heads(attention(q, k, v, 0, bias));
}

}  // namespace usol::nn
