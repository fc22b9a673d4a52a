#include "tests/emulation/jacobi.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace emulation {
namespace {

// Rotates a to diagonal form; the rows of v become the eigenvectors.
void diagonalise(std::vector<double>& a, std::vector<double>& v, std::int64_t n) {
  for (int sweep = 0; sweep < 60; ++sweep) {
    for (std::int64_t p = 0; p < n; ++p)
      for (std::int64_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        const double angle = 0.5 * std::atan2(2 * a[p * n + q], a[q * n + q] - a[p * n + p]);
        const double c = std::cos(angle), s = std::sin(angle);
        const auto rotate = [&](double& x, double& y) {
          const double old = x;
          x = c * old - s * y;
          y = s * old + c * y;
        };
        for (std::int64_t i = 0; i < n; ++i) rotate(a[i * n + p], a[i * n + q]);
        for (std::int64_t i = 0; i < n; ++i) rotate(a[p * n + i], a[q * n + i]);
        for (std::int64_t i = 0; i < n; ++i) rotate(v[p * n + i], v[q * n + i]);
      }
  }
}

}  // namespace

Eigenpairs eigenpairs(std::vector<double> a, std::int64_t n) {
  std::vector<double> rows(static_cast<std::size_t>(n * n), 0.0);
  for (std::int64_t i = 0; i < n; ++i) rows[i * n + i] = 1;
  diagonalise(a, rows, n);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return a[i * n + i] < a[j * n + j]; });
  Eigenpairs result;
  for (const std::int64_t i : order) {
    result.values.push_back(a[i * n + i]);
    result.vectors.insert(result.vectors.end(), rows.begin() + i * n, rows.begin() + (i + 1) * n);
  }
  return result;
}

}  // namespace emulation
