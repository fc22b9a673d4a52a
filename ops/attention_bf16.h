#pragma once
// The bf16 attention kernel of the CPU. CPUs without the products of bf16_products.h widen to f32 and use attention_f32
// instead.

#include <cstdint>

#include "usol/ops/bf16_products.h"
#include "usol/tensor/half.h"

namespace usol {

/// One (batch entry, head), as AttentionHead: rows of D dense bf16, `*_stride` elements apart.
struct Bf16AttentionHead {
  const bf16* q;
  const bf16* k;
  const bf16* v;
  bf16* out;
  float* log_sum;  // Lq values, or null
  std::int64_t q_stride, k_stride, v_stride, out_stride;
};

/// softmax(q k^T * scale) v for all heads, on all threads; scale > 0. Scores, sums and results are f32 until the end;
/// the weights exp((score - base of the row) * scale) are rounded to bf16 for the second product. The result does not
/// depend on the thread count.
void attention_bf16(const Bf16Products& products, const Bf16AttentionHead* heads, std::int64_t head_count,
                    std::int64_t queries, std::int64_t keys, std::int64_t width, float scale);

}  // namespace usol
