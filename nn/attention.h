#pragma once
// From the fused projection of a transformer's attention ("qkv") to queries, keys and values by head, and back.

#include <cstdint>

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

}  // namespace usol::nn
