// The bases of block Lanczos on the host and on a device: orthonormal to rounding, whatever cancels on the way.
// Eigenvalues alone do not show it: they converge before a basis that loses its orthogonality spoils them.
#include "usol/maskcut/krylov_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/support/devices.h"
#include "usol/maskcut/bit_matrix.h"
#include "usol/maskcut/krylov.h"

namespace usol::maskcut {
namespace {

constexpr double kEps = 1e-5;

// D^(-1/2) W D^(-1/2) of W = eps 11' + (1 - eps) B, where B is made of groups that are connected within, and a few ones
// between them. Eigenvalues crowd together near 1 (as many as there are groups) and near 0 (all others), so blocks are
// soon nearly in the span of those before.
struct Problem {
  BitMatrix bits;
  std::vector<double> scale, deflated;

  Problem(std::int64_t n, std::int64_t groups, std::int64_t strays) : bits(n) {
    const auto connect = [&](std::int64_t i, std::int64_t j) {
      bits.set_word(i, j / 64, bits.word(i, j / 64) | std::uint64_t{1} << (j % 64));
    };
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        if (i * groups / n == j * groups / n) connect(i, j);
    for (std::int64_t k = 0; k < strays; ++k) {
      const std::int64_t i = k * 37 % n, j = (k * 59 + 11) % n;
      connect(i, j);
      connect(j, i);
    }
    double total = 0;
    for (const std::int64_t ones : bits.row_counts()) {
      const double degree = kEps * static_cast<double>(n) + (1 - kEps) * static_cast<double>(ones);
      scale.push_back(1 / std::sqrt(degree));
      total += degree;
    }
    for (const double s : scale) deflated.push_back(1 / (s * std::sqrt(total)));
  }

  SymmetricOperator as_operator() const {
    return {bits.size(), [this](const double* x, double* y, std::int64_t vectors, std::int64_t stride) {
              for (std::int64_t v = 0; v < vectors; ++v, x += stride, y += stride) {
                std::vector<double> scaled(scale.size());
                for (std::size_t i = 0; i < scale.size(); ++i) scaled[i] = x[i] * scale[i];
                const double sum = std::accumulate(scaled.begin(), scaled.end(), 0.0);
                bits.multiply(scaled.data(), y, 1, bits.size());
                for (std::size_t i = 0; i < scale.size(); ++i) y[i] = (kEps * sum + (1 - kEps) * y[i]) * scale[i];
              }
            }};
  }
};

double dot(const double* a, const double* b, std::size_t n) { return std::inner_product(a, a + n, b, 0.0); }

// Grows each basis to about `target` vectors and looks at all of it.
void expect_orthonormal(KrylovVectors& krylov, const std::vector<const Problem*>& problems, std::int64_t target) {
  const std::vector<Projection> grown = krylov.grow(std::vector<std::int64_t>(problems.size(), target));
  std::vector<RitzPairs> all(problems.size());
  for (std::size_t p = 0; p < problems.size(); ++p) {
    const auto size = static_cast<std::size_t>(grown[p].size);
    ASSERT_GE(grown[p].size, target);
    all[p].values.assign(size, 0.0);
    all[p].coefficients.assign(size * size, 0.0);
    for (std::size_t i = 0; i < size; ++i) all[p].coefficients[i * size + i] = 1;
  }
  const std::vector<RitzVectors> bases = krylov.take(all);
  for (std::size_t p = 0; p < problems.size(); ++p) {
    const auto size = static_cast<std::size_t>(grown[p].size), n = problems[p]->scale.size();
    const double* v = bases[p].vectors.data();
    std::vector<double> images(size * n);
    problems[p]->as_operator().multiply(v, images.data(), grown[p].size, static_cast<std::int64_t>(n));
    double worst = 0, worst_projection = 0;
    for (std::size_t i = 0; i < size; ++i) {
      worst = std::max(worst, std::abs(dot(v + i * n, problems[p]->deflated.data(), n)));
      for (std::size_t j = 0; j < size; ++j) {
        worst = std::max(worst, std::abs(dot(v + i * n, v + j * n, n) - (i == j ? 1.0 : 0.0)));
        worst_projection = std::max(worst_projection,
                                    std::abs(dot(v + i * n, images.data() + j * n, n) - grown[p].matrix[i * size + j]));
      }
    }
    EXPECT_LT(worst, 1e-13) << "orthonormal, problem " << p;
    EXPECT_LT(worst_projection, 1e-12) << "H = V' A V, problem " << p;
  }
}

// Of one size, as a batch has them; the last has no ones between its groups, so its spectrum is two clusters exactly.
std::vector<Problem> clustered() {
  std::vector<Problem> problems;
  for (const std::int64_t strays : {9, 3, 40, 0}) problems.emplace_back(150, 6, strays);
  return problems;
}

TEST(Krylov, TheHostsBasisStaysOrthonormal) {
  for (const Problem& problem : clustered()) {
    const SymmetricOperator a = problem.as_operator();
    const auto krylov = make_host_krylov(a, problem.deflated, 2, 60);
    expect_orthonormal(*krylov, {&problem}, 56);
  }
}

TEST(CudaKrylov, TheDevicesBasisStaysOrthonormal) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  const std::vector<Problem> problems = clustered();
  std::vector<KrylovProblem> batch;
  std::vector<const Problem*> pointers;
  for (const Problem& problem : problems) {
    batch.push_back({&problem.bits, problem.scale.data(), problem.deflated.data()});
    pointers.push_back(&problem);
  }
  const auto krylov = make_device_krylov(batch, kEps, 2, 60, Device::cuda());
  expect_orthonormal(*krylov, pointers, 56);
}

}  // namespace
}  // namespace usol::maskcut
