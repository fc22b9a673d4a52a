// The product of bf16_products.h with AVX512-BF16 (VDPBF16PS: sixteen dot products of pairs into f32). Highway 1.0 has
// no such operation, so this file has intrinsics (ops/attention_bf16.cc has one more, for 2^n). Only what is marked
// USOL_TARGET is compiled for these instructions; everything else here runs on any CPU. A test compiles this file once
// more with VDPBF16PS replaced by AVX-512's plain operations.
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

}  // namespace

const Bf16Products* avx512_bf16_products() {
  static constexpr Bf16Products products{multiply};
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
