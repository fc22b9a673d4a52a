#pragma once
// Multi-head self-attention as vision transformers have it: one projection to queries, keys and values ("qkv"), the
// heads, one projection back ("proj"). What models add (relative positions, rotations of queries and keys) comes in as
// hooks, so that the fused attention of ops/ stays the only one.
// Source: Vaswani et al. 2017; Dosovitskiy et al. 2021.

#include <cstdint>
#include <functional>

#include "usol/nn/linear.h"
#include "usol/nn/param_store.h"
#include "usol/ops/attention.h"
#include "usol/ops/view.h"
#include "usol/tensor/tensor.h"

namespace usol::nn {

/// qkv [N, L, 3 D] -> queries (0), keys (1) or values (2) as [N, heads, L, D / heads]; a view.
inline Tensor heads_of(const Tensor& qkv, int which, std::int64_t heads) {
  const std::int64_t n = qkv.size(0), l = qkv.size(1), d = qkv.size(2) / 3;
  return transpose(reshape(slice(qkv, 2, which * d, (which + 1) * d), {n, l, heads, d / heads}), 1, 2);
}

/// [N, heads, L, W] -> [N, L, heads W]; a view of what attention() returns.
inline Tensor merged_heads(const Tensor& x) {
  return reshape(transpose(x, 1, 2), {x.size(0), x.size(2), x.size(1) * x.size(3)});
}

/// What a model does between the projections. An empty function does nothing.
struct AttentionHooks {
  /// Queries or keys [N, heads, L, d] -> the same shape, turned by the places of their tokens (ops/rope.h).
  std::function<Tensor(const Tensor& x)> rotate = {};
  /// Queries [N, heads, L, d], as they are before rotate() -> what is added to the scores (relative positions).
  std::function<AttentionBias(const Tensor& queries)> bias = {};
};

/// Whether "qkv" has a bias, and beside it "qkv.bias_mask" [3 D], which the bias is multiplied by (DINOv3: 0 for keys).
struct QkvBias {
  bool there = true, mask = false;
};

/// "qkv.weight" [3 D, D], "qkv.bias", "proj.weight" [D, D], "proj.bias".
struct Attention {
  Linear qkv, proj;
  Tensor bias_mask;  // a buffer; undefined without one
  std::int64_t heads;

  /// Throws Error unless `width` is a multiple of `heads`.
  Attention(const Scope& scope, std::int64_t width, std::int64_t heads, const QkvBias& bias = {});

  /// What is added to queries, keys and values: [3 D], or undefined.
  Tensor qkv_bias() const;
  /// x [N, ..., D] -> [N, ..., 3 D]: queries, keys and values side by side.
  Tensor projected(const Tensor& x) const;
  /// The heads' results side by side, before proj: projected [N, L, 3 D] -> [N, L, D].
  Tensor mix(const Tensor& projected, const AttentionHooks& hooks = {}) const;
  /// x [N, L, D] -> [N, L, D].
  Tensor operator()(const Tensor& x, const AttentionHooks& hooks = {}) const {
    return proj(mix(this->projected(x), hooks));
  }
};

}  // namespace usol::nn
