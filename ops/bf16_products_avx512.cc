// The operations of bf16_products.h with AVX512-BF16 (VDPBF16PS: sixteen dot products of pairs into f32). Highway 1.0
// has no such operation, so this file has intrinsics. Only what is marked USOL_TARGET is compiled for these
// instructions; everything else here runs on any CPU. A test compiles this file once more with VDPBF16PS replaced by
// AVX-512's plain operations.
#include "usol/ops/bf16_products.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#ifndef USOL_TARGET
#define USOL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#endif

namespace usol {
namespace {

constexpr int kVectors = 4;
static_assert(Bf16Products::kColumns == kVectors * 16 && Bf16Products::kRows == 6);

// 6 rows x 4 vectors of sums, 4 of b: 29 registers with the pair of a, and ten loads for 24 products.
template <int kRows>
USOL_TARGET void multiply_rows(const Bf16Tile& t) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c)
      sums[r][c] = t.accumulate ? _mm512_loadu_ps(t.sums + r * t.sums_stride + 16 * c) : _mm512_setzero_ps();
  const bf16* a = t.a;
  const std::uint32_t* b = t.b;
  for (std::int64_t i = 0; i < t.pairs; ++i, a += 2, b += t.b_stride) {
    __m512bh row[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) row[c] = (__m512bh)_mm512_loadu_si512(b + 16 * c);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int pair;
      std::memcpy(&pair, a + r * t.a_stride, sizeof(pair));
      const auto x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) sums[r][c] = _mm512_dpbf16_ps(sums[r][c], x, row[c]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) _mm512_storeu_ps(t.sums + r * t.sums_stride + 16 * c, sums[r][c]);
}

void multiply(const Bf16Tile& t) {
  switch (t.rows) {
    case 1:
      return multiply_rows<1>(t);
    case 2:
      return multiply_rows<2>(t);
    case 3:
      return multiply_rows<3>(t);
    case 4:
      return multiply_rows<4>(t);
    case 5:
      return multiply_rows<5>(t);
    default:
      return multiply_rows<6>(t);
  }
}

// 32767 - 256 (x + 127) of sixteen scores, with `scale` -256 times the factor.
USOL_TARGET inline __m512i steps(const float* scores, __m512 base, __m512 scale) {
  const __m512 apart = _mm512_sub_ps(_mm512_loadu_ps(scores), base);
  // With a mask of all lanes, since GCC 12 warns of the plain one's own code.
  return _mm512_maskz_cvtps_epi32(0xffff, _mm512_fmadd_ps(apart, scale, _mm512_set1_ps(255.0f)));
}

// Only two operations of a row's 32 weights compete with the products for their units, and one for the sum.
USOL_TARGET void soften(const Bf16Scores& s) {
  alignas(64) std::int16_t table[64];  // in the order of v = 32767 - t, ready for subtracting v
  for (int i = 0; i < 64; ++i) table[i] = static_cast<std::int16_t>(32767 + kBf16Mantissa[63 - i]);
  const __m512i low = _mm512_load_si512(table), high = _mm512_load_si512(table + 32);
  const __m512 scale = _mm512_set1_ps(-256.0f * s.factor);
  const auto ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const __m512 base = _mm512_set1_ps(s.base[r]);
    __m512 sum = _mm512_loadu_ps(s.sums + r * Bf16Products::kSums);
#pragma GCC unroll 2
    for (int c = 0; c < Bf16Products::kColumns; c += 32) {
      const float* from = s.scores + r * s.stride + c;
      const __m512i v = _mm512_packs_epi32(steps(from, base, scale), steps(from + 16, base, scale));
      const __m512i mantissa = _mm512_permutex2var_epi16(low, _mm512_srli_epi16(v, 2), high);
      const __m512i weights = _mm512_srli_epi16(_mm512_sub_epi16(mantissa, v), 1);
      _mm512_storeu_si512(s.weights + r * s.stride + c, weights);
      sum = _mm512_dpbf16_ps(sum, (__m512bh)weights, ones);
    }
    _mm512_storeu_ps(s.sums + r * Bf16Products::kSums, sum);
  }
}

}  // namespace

const Bf16Products* avx512_bf16_products() {
  static constexpr Bf16Products products{multiply, soften};
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
