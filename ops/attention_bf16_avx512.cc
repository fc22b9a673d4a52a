// The two products of bf16 attention with AVX512-BF16 (VDPBF16PS: sixteen dot products of pairs into f32). Highway 1.0
// has no such operation, so this is the one file of intrinsics. Only what is marked USOL_TARGET is compiled for these
// instructions; everything else here runs on any CPU. A test compiles this file once more with VDPBF16PS replaced by
// AVX-512's plain operations.
#include "usol/ops/attention_bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

#ifndef USOL_TARGET
#define USOL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#endif

namespace usol {
namespace {

constexpr int kScoreRows = Bf16Products::kScoreRows, kOutRows = Bf16Products::kOutRows;
static_assert(Bf16Products::kKeys == 2 * 16 && Bf16Products::kColumns == 4 * 16);

// 12 rows x 2 vectors of sums, 2 of keys: 26 of 32 registers.
USOL_TARGET void scores(const std::uint32_t* q, std::int64_t pairs, const std::uint32_t* panel, float* out,
                        std::int64_t stride) {
  __m512 a[kScoreRows], b[kScoreRows];
#pragma GCC unroll 12
  for (int r = 0; r < kScoreRows; ++r) a[r] = b[r] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < pairs; ++i) {
    const auto k0 = (__m512bh)_mm512_loadu_si512(panel + i * 32),
               k1 = (__m512bh)_mm512_loadu_si512(panel + i * 32 + 16);
#pragma GCC unroll 12
    for (int r = 0; r < kScoreRows; ++r) {
      const auto x = (__m512bh)_mm512_set1_epi32(static_cast<int>(q[r * pairs + i]));
      a[r] = _mm512_dpbf16_ps(a[r], x, k0);
      b[r] = _mm512_dpbf16_ps(b[r], x, k1);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kScoreRows; ++r) {
    _mm512_storeu_ps(out + r * stride, a[r]);
    _mm512_storeu_ps(out + r * stride + 16, b[r]);
  }
}

// 6 rows x 4 vectors of sums, 4 of values: 29 registers with the weight.
USOL_TARGET void values(const std::uint32_t* p, std::int64_t p_stride, std::int64_t pairs, const std::uint32_t* v,
                        std::int64_t v_stride, float* out, std::int64_t out_stride) {
  __m512 a[kOutRows][4];
#pragma GCC unroll 6
  for (int r = 0; r < kOutRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) a[r][c] = _mm512_loadu_ps(out + r * out_stride + 16 * c);
  for (std::int64_t i = 0; i < pairs; ++i) {
    __m512bh row[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) row[c] = (__m512bh)_mm512_loadu_si512(v + i * v_stride + 16 * c);
#pragma GCC unroll 6
    for (int r = 0; r < kOutRows; ++r) {
      const auto x = (__m512bh)_mm512_set1_epi32(static_cast<int>(p[r * p_stride + i]));
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) a[r][c] = _mm512_dpbf16_ps(a[r][c], x, row[c]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kOutRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) _mm512_storeu_ps(out + r * out_stride + 16 * c, a[r][c]);
}

}  // namespace

const Bf16Products* avx512_bf16_products() {
  static constexpr Bf16Products products{scores, values};
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  return supported ? &products : nullptr;
}

}  // namespace usol

#else

namespace usol {
const Bf16Products* avx512_bf16_products() { return nullptr; }
}  // namespace usol

#endif
