#pragma once
// The bf16 attention kernel of the CPU: attention_bf16.cc (the algorithm), attention_bf16_avx512.cc (its two products
// with AVX512-BF16). CPUs without these instructions widen to f32 and use attention_f32 instead.

#include <cstdint>

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

/// The two products of the kernel, over pairs of neighbouring bf16: a 32-bit word holds elements 2i (low half) and
/// 2i + 1. Both add, per pair, first the product of the odd elements, then that of the even ones, to an f32, rounding
/// after each (to nearest even; subnormals count as zero): what one VDPBF16PS does.
struct Bf16Products {
  static constexpr std::int64_t kKeys = 32;     // keys of a panel
  static constexpr std::int64_t kColumns = 64;  // columns of the output at a time
  static constexpr std::int64_t kScoreRows = 12, kOutRows = 6;

  /// scores[r * score_stride + j] = sum over `pairs` of q[r * pairs + i] . panel[i * kKeys + j], for kScoreRows rows
  /// and kKeys keys.
  void (*scores)(const std::uint32_t* q, std::int64_t pairs, const std::uint32_t* panel, float* scores,
                 std::int64_t score_stride);
  /// out[r * out_stride + c] += sum over `pairs` of p[r * p_stride + i] . v[i * v_stride + c], for kOutRows rows and
  /// kColumns columns.
  void (*values)(const std::uint32_t* p, std::int64_t p_stride, std::int64_t pairs, const std::uint32_t* v,
                 std::int64_t v_stride, float* out, std::int64_t out_stride);
};

/// By AVX512-BF16; null where the CPU (or the compiler) has none.
const Bf16Products* avx512_bf16_products();
/// The same bits by plain arithmetic: what the instructions are held to. Slow.
const Bf16Products* emulated_bf16_products();
/// What attention() uses for bf16 tensors: avx512_bf16_products() unless a test sets another; null: widen to f32.
const Bf16Products* bf16_products();
void set_bf16_products(const Bf16Products* products);

/// softmax(q k^T * scale) v for all heads, on all threads; scale > 0. Scores, sums and results are f32 until the end;
/// the weights exp(score - maximum) are rounded to bf16 for the second product. The result does not depend on the
/// thread count.
void attention_bf16(const Bf16Products& products, const Bf16AttentionHead* heads, std::int64_t head_count,
                    std::int64_t queries, std::int64_t keys, std::int64_t width, float scale);

}  // namespace usol
