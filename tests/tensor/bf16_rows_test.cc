// The vectorised loops over rows of bf16 against plain ones, bit for bit: whole vectors and the rest, zeros,
// infinities.
#include "usol/tensor/bf16_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace usol {
namespace {

// Of both signs and many sizes, with what is special among them.
std::vector<bf16> numbers(std::size_t n, std::uint32_t seed) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f, -0.0f, kInfinity, -kInfinity, std::nanf(""), 3.3e38f, 1e-40f};
  std::vector<bf16> out;
  for (std::size_t i = 0; i < n; ++i) {
    seed = seed * 1664525u + 1013904223u;
    const float x = std::ldexp(static_cast<float>(seed >> 8) - 0x1p23f, static_cast<int>(seed % 31) - 38);
    out.push_back(bf16(i % 5 == 2 ? special[seed / 7 % 7] : x));
  }
  return out;
}

template <class Loop, class Plain>
void expect_bits(Loop&& loop, Plain&& plain) {
  for (const std::size_t n : {0u, 1u, 15u, 16u, 77u}) {
    const std::vector<bf16> a = numbers(n, 1), b = numbers(n, 2);
    std::vector<bf16> to = b;  // the second input is the result's memory
    loop(a.data(), to.data(), static_cast<std::int64_t>(n), to.data());
    for (std::size_t i = 0; i < n; ++i) {
      const auto expected = bf16(plain(static_cast<float>(a[i]), static_cast<float>(b[i])));
      if (!std::isnan(static_cast<float>(expected)))
        EXPECT_EQ(to[i].bits, expected.bits) << i << " of " << n;
      else
        EXPECT_TRUE(std::isnan(static_cast<float>(to[i]))) << i << " of " << n;
    }
  }
}

TEST(Bf16Rows, GiveThePlainLoopsBits) {
  expect_bits(bf16_rows::add, [](float a, float b) { return a + b; });
  expect_bits(bf16_rows::relu_grad, [](float a, float b) { return b * static_cast<float>(a > 0); });
  expect_bits([](const bf16* a, const bf16*, std::int64_t n, bf16* to) { bf16_rows::relu(a, n, to); },
              [](float a, float) { return a < 0 ? 0 : a; });
}

TEST(Bf16Rows, WidenAndNarrow) {
  const std::vector<bf16> from = numbers(77, 3);
  std::vector<float> wide(from.size());
  bf16_rows::widen(from.data(), 77, wide.data());
  for (std::size_t i = 0; i < from.size(); ++i)
    if (!std::isnan(wide[i])) EXPECT_EQ(wide[i], static_cast<float>(from[i])) << i;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] *= 1 + 0x1p-8f * static_cast<float>(i % 7);  // ties among them
  std::vector<bf16> back(from.size());
  bf16_rows::narrow(wide.data(), 77, back.data());
  for (std::size_t i = 0; i < from.size(); ++i)
    if (!std::isnan(wide[i])) EXPECT_EQ(back[i].bits, bf16(wide[i]).bits) << i;
}

}  // namespace
}  // namespace usol
