#pragma once
// The f32 attention kernel (attention_cpu.cc), over plain pointers.

#include <cstdint>

namespace usol {

/// One (batch entry, head): rows of D dense floats, `*_stride` floats apart.
struct AttentionHead {
  const float* q;
  const float* k;
  const float* v;
  float* out;
  float* log_sum;  // Lq values, or null
  std::int64_t q_stride, k_stride, v_stride, out_stride;
  // Added to the scores of key i key_columns + j: row_bias[query][i] + column_bias[query][j]; dense, or null.
  const float *row_bias = nullptr, *column_bias = nullptr;
  std::int64_t key_rows = 0, key_columns = 0;
};

/// softmax(q k^T * scale + bias) v for all heads, on all threads. Equals the plain formula up to rounding; the result
/// does not depend on the number of threads.
void attention_f32(const AttentionHead* heads, std::int64_t head_count, std::int64_t queries, std::int64_t keys,
                   std::int64_t width, float scale);

}  // namespace usol
