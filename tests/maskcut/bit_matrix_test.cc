#include "usol/maskcut/bit_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

// A random symmetric matrix, as a plain array and as bits (of which only the upper triangle is set at first).
struct Pair {
  std::vector<std::uint8_t> plain;
  BitMatrix bits;
};

Pair random_symmetric(std::int64_t n, std::uint64_t seed) {
  Generator rng(seed);
  Pair pair{std::vector<std::uint8_t>(static_cast<std::size_t>(n * n)), BitMatrix(n)};
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) {
      const bool one = rng.uniform() < 0.4f;
      pair.plain[static_cast<std::size_t>(i * n + j)] = pair.plain[static_cast<std::size_t>(j * n + i)] = one;
      if (one) pair.bits.set_word(i, j / 64, pair.bits.word(i, j / 64) | std::uint64_t{1} << (j % 64));
    }
  // Rubbish below the diagonal must not survive.
  if (n > 70) pair.bits.set_word(70, 0, 0x123456789ull);
  pair.bits.mirror_upper();
  return pair;
}

const std::int64_t kSizes[] = {1, 2, 7, 8, 63, 64, 65, 130, 257, 900};

TEST(BitMatrix, MirrorMakesItSymmetric) {
  for (const std::int64_t n : kSizes) {
    const Pair pair = random_symmetric(n, 1);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        ASSERT_EQ(pair.bits.get(i, j), pair.plain[static_cast<std::size_t>(i * n + j)] != 0)
            << n << " " << i << " " << j;
  }
}

TEST(BitMatrix, ProductEqualsTheDoubleLoop) {
  for (const std::int64_t n : kSizes) {
    const Pair pair = random_symmetric(n, 2);
    const std::int64_t vectors = 3, stride = n + 5;
    Generator rng(3);
    std::vector<double> x(static_cast<std::size_t>(vectors * stride)), y(x.size(), -77.0);
    for (double& value : x) value = rng.uniform(-1, 1);
    pair.bits.multiply(x.data(), y.data(), vectors, stride);
    for (std::int64_t v = 0; v < vectors; ++v) {
      for (std::int64_t i = 0; i < n; ++i) {
        double expected = 0;
        for (std::int64_t j = 0; j < n; ++j)
          if (pair.plain[static_cast<std::size_t>(i * n + j)] != 0)
            expected += x[static_cast<std::size_t>(v * stride + j)];
        ASSERT_NEAR(y[static_cast<std::size_t>(v * stride + i)], expected, 1e-15 * static_cast<double>(n))
            << n << " " << i;
      }
      for (std::int64_t i = n; i < stride; ++i) EXPECT_EQ(y[static_cast<std::size_t>(v * stride + i)], -77.0);
    }
  }
}

TEST(BitMatrix, ProductBitsDoNotDependOnThreadsOrOnTheNumberOfVectors) {
  const std::int64_t n = 900;
  const Pair pair = random_symmetric(n, 4);
  Generator rng(5);
  std::vector<double> x(static_cast<std::size_t>(2 * n)), one(x.size()), many(x.size());
  for (double& value : x) value = rng.uniform(-1, 1);
  const int threads = thread_count();
  set_thread_count(1);
  pair.bits.multiply(x.data(), one.data(), 1, n);
  pair.bits.multiply(x.data() + n, one.data() + n, 1, n);
  set_thread_count(3);
  pair.bits.multiply(x.data(), many.data(), 2, n);
  set_thread_count(threads);
  EXPECT_EQ(one, many);
}

TEST(BitMatrix, FillAndCount) {
  for (const bool value : {false, true}) {
    const std::int64_t n = 130;
    Pair pair = random_symmetric(n, 6);
    std::vector<std::uint8_t> marks(static_cast<std::size_t>(n), 0);
    for (const int i : {0, 3, 64, 129}) marks[static_cast<std::size_t>(i)] = 1;
    pair.bits.fill_rows_and_columns(marks, value);
    const std::vector<std::int64_t> counts = pair.bits.row_counts();
    for (std::int64_t i = 0; i < n; ++i) {
      std::int64_t expected = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        const bool marked = marks[static_cast<std::size_t>(i)] != 0 || marks[static_cast<std::size_t>(j)] != 0;
        expected += marked ? value : pair.plain[static_cast<std::size_t>(i * n + j)] != 0;
      }
      ASSERT_EQ(counts[static_cast<std::size_t>(i)], expected) << i;
    }
  }
  EXPECT_THROW(BitMatrix(3).fill_rows_and_columns({1}, true), Error);
  EXPECT_THROW(BitMatrix(-1), Error);
}

}  // namespace
}  // namespace usol::maskcut
