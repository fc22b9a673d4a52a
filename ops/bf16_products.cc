#include "usol/ops/bf16_products.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "usol/ops/onednn.h"

namespace usol {
namespace {

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// A product of two bf16 has 16 bits: exact in f32, so that multiplying and adding is the fused operation.
float add_pair(float sum, std::uint32_t a, std::uint32_t b) {
  const auto high = [](std::uint32_t word) { return flushed(std::bit_cast<float>(word & 0xffff0000u)); };
  const auto low = [](std::uint32_t word) { return flushed(std::bit_cast<float>(word << 16)); };
  sum = flushed(std::fma(high(a), high(b), flushed(sum)));
  return flushed(std::fma(low(a), low(b), sum));
}

std::uint32_t pair_at(const bf16* elements) {
  std::uint32_t word;
  std::memcpy(&word, elements, sizeof(word));
  return word;
}

void emulated_multiply(const Bf16Tile& t) {
  for (std::int64_t r = 0; r < t.rows; ++r)
    for (std::int64_t c = 0; c < Bf16Products::kColumns; ++c) {
      float& sum = t.sums[r * t.sums_stride + c];
      if (!t.accumulate) sum = 0;
      for (std::int64_t i = 0; i < t.pairs; ++i)
        sum = add_pair(sum, pair_at(t.a + r * t.a_stride + i * t.a_step), t.b[i * t.b_stride + c]);
    }
}

// 2^x as bf16 from v = 32767 - 256 (x + 127), as VCVTPS2DQ and VPACKSSDW make 16 bits of it. In this direction what is
// too large becomes the largest weight, a NaN, and what has no integer (a NaN, or 2^31 and more either way) likewise.
std::uint16_t weight_bits(float v) {
  const bool has_integer = std::abs(v) < 0x1p31f;
  const int steps = has_integer ? static_cast<int>(std::clamp(std::nearbyint(v), -32768.0f, 32767.0f)) : -32768;
  const int t = 32767 - steps;
  return static_cast<std::uint16_t>((t + kBf16Mantissa[t / 4 % 64]) / 2);
}

void emulated_soften(const Bf16Scores& s) {
  constexpr std::uint32_t kOnes = 0x3f803f80;
  for (std::int64_t r = 0; r < s.rows; ++r) {
    for (std::int64_t i = 0; i < Bf16Products::kColumns / 2; ++i) {
      const float* pair = s.scores + r * s.stride + bf16_first_of_pair(i);
      bf16* weights = s.weights + r * s.stride + 2 * i;
      for (std::int64_t j = 0; j < 2; ++j)
        weights[j].bits = weight_bits(std::fma(pair[j] - s.base[r], -256.0f * s.factor, 255.0f));
      float& sum = s.sums[r * Bf16Products::kSums + i % Bf16Products::kSums];
      sum = add_pair(sum, pair_at(weights), kOnes);
    }
  }
}

// Of the quarters, the nearest to a; adding 1.5 * 2^21 rounds to it and leaves its number in the lowest bits.
float gelu(float x) {
  constexpr float kQuarters = 3145728.0f;
  const float a = std::abs(x) < kBf16GeluEnd ? std::abs(x) : kBf16GeluEnd, shifted = a + kQuarters;
  const auto i = std::bit_cast<std::uint32_t>(shifted) % 16;
  const float r = a - (shifted - kQuarters);
  const float p = std::fma(std::fma(kBf16Gelu[2][i], r, kBf16Gelu[1][i]), r, kBf16Gelu[0][i]);
  return std::fma(a, p, 0 > x ? 0 : x);  // of a NaN the NaN
}

void emulated_finish(const Bf16Sums& s) {
  for (std::int64_t r = 0; r < s.rows; ++r)
    for (std::int64_t c = 0; c < s.columns; ++c) {
      bf16& out = s.out[r * s.out_stride + c];
      float x = s.sums[r * Bf16Products::kColumns + c] + s.bias[c];
      if (s.accumulate) x += static_cast<float>(out);
      if (s.activation == Activation::kRelu) x = 0 > x ? 0 : x;
      if (s.activation == Activation::kGelu) x = gelu(x);
      out = bf16(flushed(x));
    }
}

const Bf16Products* fastest() {
  const Bf16Products* amx = onednn_multiplies_bf16_faster() ? amx_bf16_products() : nullptr;
  return amx ? amx : avx512_bf16_products();
}

std::atomic<const Bf16Products*>& chosen_products() {
  static std::atomic<const Bf16Products*> chosen{fastest()};
  return chosen;
}

}  // namespace

const Bf16Products* emulated_bf16_products() {
  static constexpr Bf16Products products{Bf16Products::kRows, emulated_multiply, emulated_soften, emulated_finish};
  return &products;
}
const Bf16Products* bf16_products() { return chosen_products(); }
void set_bf16_products(const Bf16Products* products) { chosen_products() = products; }

void pack_bf16_rows(const bf16* from, std::int64_t row_stride, std::int64_t rows, std::int64_t width,
                    std::uint32_t* to) {
  constexpr std::int64_t kColumns = Bf16Products::kColumns;
  const std::int64_t whole = width / 2;
  rows = std::min(rows, kColumns);
  // A few pairs of all rows at a time: what is read of a row, and what is written, stays in the nearest cache.
  constexpr std::int64_t kPairs = 16;
  for (std::int64_t i0 = 0; i0 < whole; i0 += kPairs) {
    const std::int64_t end = std::min(whole, i0 + kPairs);
    for (std::int64_t c = 0; c < rows; ++c)
      for (std::int64_t i = i0; i < end; ++i) to[i * kColumns + c] = pair_at(from + c * row_stride + 2 * i);
  }
  if (width % 2 == 1)
    for (std::int64_t c = 0; c < rows; ++c) to[whole * kColumns + c] = from[c * row_stride + width - 1].bits;
  for (std::int64_t i = 0; rows < kColumns && i < (width + 1) / 2; ++i)
    std::fill(to + i * kColumns + rows, to + (i + 1) * kColumns, 0u);
}

}  // namespace usol
