#include "usol/ops/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "tests/support/devices.h"
#include "tests/support/op_case.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Source: the known answers of Random123, philox4x32 with ten rounds.
TEST(Random, WordsAreThoseOfTheReference) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, 0xffffffffffffffff),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, ElementsAreTheGeneratorsOwnNumbers) {
  Generator a(7, 3), b(7, 3);
  a.reserve(5);  // start inside a block of four words
  b.reserve(5);
  const auto u = uniform({11}, a).to_vector<float>();
  for (float value : u) EXPECT_EQ(value, b.uniform());
  const auto n = normal({9}, a).to_vector<float>();
  for (float value : n) EXPECT_EQ(value, b.normal());
  EXPECT_EQ(a.position(), b.position());
}

TEST(Random, MomentsAndRange) {
  Generator generator(1);
  const Tensor u = uniform({50000}, generator, -2, 4, DType::kF64);
  EXPECT_NEAR(mean(u).item(), 1, 0.03);
  EXPECT_GE(-amax(u).item(), -4);
  const auto n = normal({50000}, generator, 3, 2, DType::kF64).to_vector<double>();
  double sum = 0, square = 0;
  for (double x : n) {
    sum += x;
    square += (x - 3) * (x - 3);
  }
  EXPECT_NEAR(sum / 50000, 3, 0.04);
  EXPECT_NEAR(std::sqrt(square / 50000), 2, 0.03);
}

TEST(Random, TwoHalvesAreTheWhole) {
  Generator a(9), b(9);
  const auto whole = uniform({100001}, a).to_vector<float>();
  auto parts = uniform({33333}, b).to_vector<float>();
  const auto rest = uniform({66668}, b).to_vector<float>();
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(whole, parts);
}

TEST(Random, SameNumbersOnCuda) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    Generator a(5, 2), b(5, 2);
    const Tensor host = uniform({1000}, a, -1, 3, dtype), device = uniform({1000}, b, -1, 3, dtype, Device::cuda());
    EXPECT_EQ(relative_error(device, host), 0);
    EXPECT_LE(relative_error(normal({1000}, b, 1, 2, dtype, Device::cuda()), normal({1000}, a, 1, 2, dtype)), 1e-7);
  }
}

TEST(Random, PermutationHoldsEveryNumberOnce) {
  Generator generator(4);
  auto order = random_permutation(500, generator).to_vector<std::int64_t>();
  EXPECT_NE(order, Tensor::arange(500).to_vector<std::int64_t>());
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, Tensor::arange(500).to_vector<std::int64_t>());
  EXPECT_EQ(random_permutation(0, generator).numel(), 0);
}

TEST(Random, Errors) {
  Generator generator;
  EXPECT_THROW(uniform({3}, generator, 0, 1, DType::kI64), Error);
  EXPECT_EQ(normal({0, 3}, generator).shape(), (Shape{0, 3}));
}

}  // namespace
}  // namespace usol::test
