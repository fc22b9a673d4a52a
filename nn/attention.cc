#include "usol/nn/attention.h"

#include "usol/tensor/check.h"

namespace usol::nn {

Attention::Attention(const Scope& scope, std::int64_t width, std::int64_t head_count, bool qkv_bias)
    : qkv(scope / "qkv", width, 3 * width, qkv_bias), proj(scope / "proj", width, width), heads(head_count) {
  check(heads > 0 && width % heads == 0, "attention: expected a width that {} heads divide, got {}", heads, width);
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
