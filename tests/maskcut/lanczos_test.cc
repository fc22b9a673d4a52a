// Block Lanczos on matrices whose eigenvalues are chosen: Q diag(values) Q' with Q a product of reflections.
#include "usol/maskcut/lanczos.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

// x -= 2 (u.x) u for two fixed unit vectors u, forwards or backwards.
void reflect(std::vector<double>& x, bool backwards) {
  const auto n = static_cast<std::int64_t>(x.size());
  for (const std::int64_t k : backwards ? std::vector<std::int64_t>{101, 100} : std::vector<std::int64_t>{100, 101}) {
    const std::vector<double> u = fixed_vector(k, n);
    const double uu = std::inner_product(u.begin(), u.end(), u.begin(), 0.0);
    const double ux = std::inner_product(u.begin(), u.end(), x.begin(), 0.0);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] -= 2 * ux / uu * u[i];
  }
}

std::vector<double> eigenvector(std::size_t i, std::size_t n) {
  std::vector<double> e(n, 0.0);
  e[i] = 1;
  reflect(e, false);
  return e;
}

SymmetricOperator with_values(std::vector<double> values) {
  const auto n = static_cast<std::int64_t>(values.size());
  return {n, [values](const double* x, double* y, std::int64_t vectors, std::int64_t stride) {
            for (std::int64_t v = 0; v < vectors; ++v) {
              std::vector<double> z(x + v * stride, x + v * stride + static_cast<std::int64_t>(values.size()));
              reflect(z, true);
              for (std::size_t i = 0; i < z.size(); ++i) z[i] *= values[i];
              reflect(z, false);
              std::copy(z.begin(), z.end(), y + v * stride);
            }
          }};
}

// Spread evenly over [-0.5, 0.5], the leading ones replaced.
std::vector<double> spectrum(std::size_t n, const std::vector<double>& leading) {
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = 0.5 - static_cast<double>(i) / static_cast<double>(n);
  std::copy(leading.begin(), leading.end(), values.begin());
  return values;
}

double correlation(const LanczosResult& result, std::size_t v, std::size_t wanted, std::size_t n) {
  const std::vector<double> e = eigenvector(wanted, n);
  return std::abs(
      std::inner_product(e.begin(), e.end(), result.vectors.begin() + static_cast<std::ptrdiff_t>(v * n), 0.0));
}

TEST(Lanczos, FindsSimpleValuesWithTheFirstDeflated) {
  const std::size_t n = 400;
  const SymmetricOperator a = with_values(spectrum(n, {1.0, 0.9, 0.8, 0.75}));
  const LanczosResult result = largest_eigenpairs(a, eigenvector(0, n), 2);
  ASSERT_EQ(result.values.size(), 2u);
  EXPECT_NEAR(result.values[0], 0.9, 1e-13);
  EXPECT_NEAR(result.values[1], 0.8, 1e-13);
  EXPECT_NEAR(correlation(result, 0, 1, n), 1, 1e-12);
  EXPECT_NEAR(correlation(result, 1, 2, n), 1, 1e-12);
  EXPECT_LE(result.residual, 1e-10);
}

TEST(Lanczos, SeparatesCloseValues) {
  const std::size_t n = 300;
  for (const double gap : {1e-3, 1e-5, 1e-7, 1e-8}) {
    const LanczosResult result = largest_eigenpairs(with_values(spectrum(n, {0.9, 0.9 - gap})), {}, 1);
    ASSERT_EQ(result.values.size(), 1u) << gap;
    EXPECT_NEAR(correlation(result, 0, 0, n), 1, 1e-8) << gap;
  }
}

TEST(Lanczos, ReturnsTheWholeCluster) {
  const std::size_t n = 300;
  // Equal, and closer than the gap.
  for (const double gap : {0.0, 1e-11}) {
    LanczosOptions options;
    options.block = 8;
    const LanczosResult result =
        largest_eigenpairs(with_values(spectrum(n, {0.9, 0.9 - gap, 0.9, 0.7})), {}, 1, options);
    ASSERT_EQ(result.values.size(), 3u) << gap;
    EXPECT_LE(result.residual, 1e-10);
    // The span is right: every eigenvector of the cluster lies in it.
    for (std::size_t wanted = 0; wanted < 3; ++wanted) {
      double square = 0;
      for (std::size_t v = 0; v < 3; ++v) square += std::pow(correlation(result, v, wanted, n), 2);
      EXPECT_NEAR(square, 1, 1e-10);
    }
  }
}

TEST(Lanczos, ABlockSeesAsManyEqualValuesAsItHasVectors) {
  const LanczosResult result = largest_eigenpairs(with_values(spectrum(200, {0.9, 0.9, 0.9, 0.9})), {}, 1);
  EXPECT_EQ(result.values.size(), 2u);
}

// Three distinct values: the space of the starting block is exhausted after a few steps.
TEST(Lanczos, SurvivesBreakdown) {
  const std::size_t n = 100;
  std::vector<double> values(n, 0.1);
  values[0] = 0.9;
  values[1] = 0.5;
  const LanczosResult result = largest_eigenpairs(with_values(values), {}, 3);
  ASSERT_GE(result.values.size(), 3u);
  EXPECT_NEAR(result.values[0], 0.9, 1e-13);
  EXPECT_NEAR(result.values[1], 0.5, 1e-13);
  EXPECT_NEAR(result.values[2], 0.1, 1e-13);
  EXPECT_NEAR(correlation(result, 0, 0, n), 1, 1e-12);
}

TEST(Lanczos, ExhaustsSmallSpaces) {
  for (const std::size_t n : {1u, 2u, 3u, 9u}) {
    const std::vector<double> values = spectrum(n, {});
    const LanczosResult result = largest_eigenpairs(with_values(values), {}, 20);
    ASSERT_EQ(result.values.size(), n);
    for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(result.values[i], values[i], 1e-13);
  }
  EXPECT_TRUE(largest_eigenpairs(with_values({1.0}), eigenvector(0, 1), 1).values.empty());
}

// The second difference: its largest eigenvalues crowd together, so the basis has to be restarted many times.
TEST(Lanczos, RestartsUntilAHardSpectrumConverges) {
  const std::int64_t n = 200;
  const SymmetricOperator path{n, [](const double* x, double* y, std::int64_t vectors, std::int64_t stride) {
                                 for (std::int64_t v = 0; v < vectors; ++v)
                                   for (std::int64_t i = 0; i < n; ++i) {
                                     const double* z = x + v * stride;
                                     y[v * stride + i] = ((i > 0 ? z[i - 1] : 0) + (i + 1 < n ? z[i + 1] : 0)) / 2;
                                   }
                               }};
  LanczosOptions options;
  options.max_basis = 40;
  const LanczosResult result = largest_eigenpairs(path, {}, 2, options);
  const double angle = std::acos(-1.0) / static_cast<double>(n + 1);
  EXPECT_NEAR(result.values[0], std::cos(angle), 1e-12);
  EXPECT_NEAR(result.values[1], std::cos(2 * angle), 1e-12);
  EXPECT_LE(result.residual, 1e-10);
  EXPECT_GT(result.products, 60);
  options.max_products = 60;
  EXPECT_THROW(largest_eigenpairs(path, {}, 2, options), Error);
}

TEST(Lanczos, RefusesWhatItCannotTake) {
  const SymmetricOperator a = with_values(spectrum(10, {}));
  EXPECT_THROW(largest_eigenpairs(a, {}, 0), Error);
  EXPECT_THROW(largest_eigenpairs(a, {1.0}, 1), Error);
}

}  // namespace
}  // namespace usol::maskcut
