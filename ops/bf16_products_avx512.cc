// The operations of bf16_products.h with AVX512-BF16 (VDPBF16PS: sixteen dot products of pairs into f32). Highway 1.0
// has no such operation, so this file has intrinsics. Only what is marked USOL_TARGET is compiled for these
// instructions; everything else here runs on any CPU. A test compiles this file once more with VDPBF16PS and
// VCVTNE2PS2BF16 replaced by AVX-512's plain operations.
#include "usol/ops/bf16_products.h"

#if defined(__x86_64__)

// GCC 12 takes the undefined vector inside its own intrinsics for a mistake.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

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
  for (std::int64_t i = 0; i < t.pairs; ++i, a += t.a_step, b += t.b_stride) {
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

// 32767 - 256 (x + 127) of sixteen scores, with `scale` 256 times the factor.
USOL_TARGET inline __m512i steps(const float* scores, __m512 base, __m512 scale) {
  const __m512 apart = _mm512_sub_ps(base, _mm512_loadu_ps(scores));
  return _mm512_cvtps_epi32(_mm512_fmadd_ps(apart, scale, _mm512_set1_ps(255.0f)));
}

// Of what a row's 32 weights take, only two multiplications, half of the table and the sum compete with the products
// for their units. Few instructions also matter: they are between two products, of which the processor sees both then.
USOL_TARGET void soften(const Bf16Scores& s) {
  alignas(64) std::int16_t table[64];  // in the order of v = 32767 - t, ready for subtracting v
  for (int i = 0; i < 64; ++i) table[i] = static_cast<std::int16_t>(32767 + kBf16Mantissa[63 - i]);
  const __m512i low = _mm512_load_si512(table), high = _mm512_load_si512(table + 32);
  const __m512 scale = _mm512_set1_ps(256.0f * s.factor);
  const auto ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  const float *from = s.scores, *base = s.base;
  float* sums = s.sums;
  bf16* to = s.weights;
  const std::int64_t stride = s.stride;
  for (int r = s.rows; r > 0; --r, from += stride, to += stride, sums += Bf16Products::kSums, ++base) {
    const __m512 subtracted = _mm512_set1_ps(*base);
    __m512 sum = _mm512_loadu_ps(sums);
#pragma GCC unroll 2
    for (int c = 0; c < Bf16Products::kColumns; c += 32) {
      const __m512i v = _mm512_packs_epi32(steps(from + c, subtracted, scale), steps(from + c + 16, subtracted, scale));
      const __m512i mantissa = _mm512_permutex2var_epi16(low, _mm512_srli_epi16(v, 2), high);
      const __m512i weights = _mm512_srli_epi16(_mm512_sub_epi16(mantissa, v), 1);
      _mm512_storeu_si512(to + c, weights);
      sum = _mm512_dpbf16_ps(sum, (__m512bh)weights, ones);
    }
    _mm512_storeu_ps(sums, sum);
  }
}

USOL_TARGET inline __m512 gelu(__m512 x) {
  const __m512 quarters = _mm512_set1_ps(3145728.0f);
  const __m512 a = _mm512_min_ps(_mm512_abs_ps(x), _mm512_set1_ps(kBf16GeluEnd)), shifted = _mm512_add_ps(a, quarters);
  const auto term = [i = (__m512i)shifted](int degree)
                        USOL_TARGET { return _mm512_permutexvar_ps(i, _mm512_loadu_ps(kBf16Gelu[degree])); };
  const __m512 r = _mm512_sub_ps(a, _mm512_sub_ps(shifted, quarters));
  const __m512 p = _mm512_fmadd_ps(_mm512_fmadd_ps(term(2), r, term(1)), r, term(0));
  return _mm512_fmadd_ps(a, p, _mm512_max_ps(_mm512_setzero_ps(), x));
}

// activation(sum + bias + added) of 16 columns.
template <Activation kActivation>
USOL_TARGET inline __m512 finished(const float* sums, const float* bias, __m256i added) {
  __m512 x = _mm512_add_ps(_mm512_loadu_ps(sums), _mm512_loadu_ps(bias));
  x = _mm512_add_ps(x, (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(added), 16));
  if constexpr (kActivation == Activation::kRelu) x = _mm512_max_ps(_mm512_setzero_ps(), x);
  if constexpr (kActivation == Activation::kGelu) x = gelu(x);
  return x;
}

// Of 32 columns.
template <Activation kActivation>
USOL_TARGET inline __m512i finished_pair(const float* sums, const float* bias, __m512i added) {
  const __m512 low = finished<kActivation>(sums, bias, _mm512_castsi512_si256(added));
  const __m512 high = finished<kActivation>(sums + 16, bias + 16, _mm512_extracti64x4_epi64(added, 1));
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

template <Activation kActivation>
USOL_TARGET void finish_rows(const Bf16Sums& s) {
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const float* sums = s.sums + r * Bf16Products::kColumns;
    bf16* out = s.out + r * s.out_stride;
    int c = 0;
    for (; c + 32 <= s.columns; c += 32) {
      const __m512i added = s.accumulate ? _mm512_loadu_si512(out + c) : _mm512_setzero_si512();
      _mm512_storeu_si512(out + c, finished_pair<kActivation>(sums + c, s.bias + c, added));
    }
    if (c == s.columns) continue;
    // Of fewer with a mask, which is slower.
    const __mmask32 rest = (1u << (s.columns - c)) - 1;
    const __m512i added = s.accumulate ? _mm512_maskz_loadu_epi16(rest, out + c) : _mm512_setzero_si512();
    _mm512_mask_storeu_epi16(out + c, rest, finished_pair<kActivation>(sums + c, s.bias + c, added));
  }
}

void finish(const Bf16Sums& s) {
  switch (s.activation) {
    case Activation::kNone:
      return finish_rows<Activation::kNone>(s);
    case Activation::kRelu:
      return finish_rows<Activation::kRelu>(s);
    case Activation::kGelu:
      return finish_rows<Activation::kGelu>(s);
  }
}

}  // namespace

const Bf16Products* avx512_bf16_products() {
  static constexpr Bf16Products products{Bf16Products::kRows, multiply, soften, finish};
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  return supported ? &products : nullptr;
}

}  // namespace usol

#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#else

namespace usol {
const Bf16Products* avx512_bf16_products() { return nullptr; }
}  // namespace usol

#endif
