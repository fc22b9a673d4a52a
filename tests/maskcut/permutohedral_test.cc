// The lattice against the same lattice written plainly in f64, and against the exact Gaussian that it approximates.
#include "usol/maskcut/permutohedral.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

using Vertex = std::vector<int>;  // d + 1 coordinates that sum to 0

// One point's simplex: its vertices with their barycentric weights.
std::vector<std::pair<Vertex, double>> simplex_of(const std::vector<double>& feature) {
  const int d = static_cast<int>(feature.size());
  // The columns of the basis are orthogonal in the plane sum(x) = 0; the blur has variance 2/3 (d + 1)^2.
  std::vector<double> x(d + 1, 0.0);
  for (int i = 0; i < d; ++i) {
    const double f = feature[i] * std::sqrt(2.0 / 3.0) * (d + 1) / std::sqrt((i + 1.0) * (i + 2.0));
    for (int k = 0; k <= i; ++k) x[k] += f;
    x[i + 1] -= (i + 1) * f;
  }
  // Among all vertices of remainder 0 nearby, the one whose simplex holds x has residuals spanning less than d + 1.
  Vertex corner(d + 1);
  std::vector<double> residual(d + 1);
  for (int i = 0; i <= d; ++i) {
    corner[i] = static_cast<int>(std::lround(x[i] / (d + 1))) * (d + 1);
    residual[i] = x[i] - corner[i];
  }
  for (int sum = std::accumulate(corner.begin(), corner.end(), 0); sum != 0;) {
    const auto at = (sum > 0 ? std::min_element(residual.begin(), residual.end())
                             : std::max_element(residual.begin(), residual.end())) -
                    residual.begin();
    const int step = sum > 0 ? -(d + 1) : d + 1;
    corner[at] += step;
    residual[at] -= step;
    sum += step;
  }
  std::vector<int> order(d + 1);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return residual[a] > residual[b]; });
  // Vertex r adds r to every coordinate and takes d + 1 from the r smallest residuals.
  std::vector<std::pair<Vertex, double>> simplex;
  for (int r = 0; r <= d; ++r) {
    Vertex v = corner;
    for (int k = 0; k <= d; ++k) v[order[k]] += k > d - r ? r - (d + 1) : r;
    const double weight = r == 0 ? 1 - (residual[order[0]] - residual[order[d]]) / (d + 1)
                                 : (residual[order[d - r]] - residual[order[d - r + 1]]) / (d + 1);
    simplex.emplace_back(v, weight);
  }
  return simplex;
}

std::vector<double> plain_lattice(const std::vector<float>& features, int d, const std::vector<float>& in,
                                  int channels) {
  const std::size_t points = features.size() / d;
  std::map<Vertex, std::vector<double>> values;
  std::vector<std::vector<std::pair<Vertex, double>>> simplices;
  for (std::size_t i = 0; i < points; ++i) {
    simplices.push_back(simplex_of({features.begin() + i * d, features.begin() + (i + 1) * d}));
    for (const auto& [vertex, weight] : simplices.back()) {
      auto& row = values[vertex];
      row.resize(channels);
      for (int c = 0; c < channels; ++c) row[c] += weight * in[i * channels + c];
    }
  }
  for (int axis = 0; axis <= d; ++axis) {
    std::map<Vertex, std::vector<double>> blurred;
    for (const auto& [vertex, row] : values) {
      auto& to = blurred[vertex] = row;
      for (const int sign : {-1, 1}) {
        Vertex next = vertex;
        for (int k = 0; k <= d; ++k) next[k] += k == axis ? -sign * d : sign;
        const auto found = values.find(next);
        for (int c = 0; found != values.end() && c < channels; ++c) to[c] += 0.5 * found->second[c];
      }
    }
    values = std::move(blurred);
  }
  std::vector<double> out(in.size());
  for (std::size_t i = 0; i < points; ++i)
    for (const auto& [vertex, weight] : simplices[i])
      for (int c = 0; c < channels; ++c) out[i * channels + c] += weight * values[vertex][c] / (1 + std::pow(2.0, -d));
  return out;
}

std::vector<float> uniform(std::size_t count, float low, float high, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(count);
  for (float& v : values) v = distribution(random);
  return values;
}

std::vector<float> filtered(const Permutohedral& lattice, const std::vector<float>& in, int channels) {
  std::vector<float> out(in.size());
  lattice.filter(in, out, channels);
  return out;
}

TEST(Permutohedral, EqualsThePlainLattice) {
  for (int d = 1; d <= 7; ++d)
    for (const int channels : {1, 2, 3, 4, 5, 8, 11}) {
      const auto features = uniform(300 * d, -4, 4, d);
      const auto in = uniform(300 * channels, -1, 1, 100 + channels);
      const auto out = filtered(Permutohedral(features, d), in, channels);
      const auto expected = plain_lattice(features, d, in, channels);
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        worst = std::max(worst, std::abs(out[i] - expected[i]));
        largest = std::max(largest, std::abs(expected[i]));
      }
      EXPECT_LT(worst, 3e-6 * largest) << d << " dimensions, " << channels << " channels";
    }
}

// On a dense grid of points the normalised filter is close to the normalised Gaussian.
TEST(Permutohedral, ApproximatesTheGaussian) {
  constexpr int kSide = 40;
  std::vector<float> features;
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) features.insert(features.end(), {x / 3.0f, y / 3.0f});
  std::vector<float> in = uniform(kSide * kSide, 0, 1, 7), pairs;
  for (const float v : in) pairs.insert(pairs.end(), {v, 1.0f});
  const auto out = filtered(Permutohedral(features, 2), pairs, 2);
  double worst = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    double sum = 0, norm = 0;
    for (std::size_t j = 0; j < in.size(); ++j) {
      const double dx = features[2 * i] - features[2 * j], dy = features[2 * i + 1] - features[2 * j + 1];
      const double k = std::exp(-0.5 * (dx * dx + dy * dy));
      sum += k * in[j];
      norm += k;
    }
    worst = std::max(worst, std::abs(out[2 * i] / out[2 * i + 1] - sum / norm));
  }
  EXPECT_LT(worst, 0.02);  // of values in [0, 1]; unfiltered they differ by 0.5
}

TEST(Permutohedral, SameBitsForAnyNumberOfThreads) {
  const auto features = uniform(20000 * 5, 0, 3, 1);
  const auto in = uniform(20000 * 3, -1, 1, 2);
  set_thread_count(1);
  const auto one = filtered(Permutohedral(features, 5), in, 3);
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(filtered(Permutohedral(features, 5), in, 3), one) << threads;
  }
  set_thread_count(0);
}

TEST(Permutohedral, EqualPointsShareTheirVertices) {
  std::vector<float> features;
  for (int i = 0; i < 1000; ++i) features.insert(features.end(), {0.3f, -1.2f, 2.5f});
  const Permutohedral lattice(features, 3);
  EXPECT_EQ(lattice.vertices(), 4);
  const auto out = filtered(lattice, std::vector<float>(1000, 1.0f), 1);
  for (const float v : out) EXPECT_EQ(v, out[0]);
}

TEST(Permutohedral, NoPoints) {
  const Permutohedral lattice(std::vector<float>{}, 5);
  EXPECT_EQ(lattice.points(), 0);
  EXPECT_EQ(lattice.vertices(), 0);
  EXPECT_TRUE(filtered(lattice, {}, 3).empty());
}

TEST(Permutohedral, RefusesWhatItCannotHold) {
  const std::vector<float> four(4, 0.0f);
  EXPECT_THROW(Permutohedral(four, 0), Error);
  EXPECT_THROW(Permutohedral(four, 8), Error);
  EXPECT_THROW(Permutohedral(four, 3), Error);
  EXPECT_THROW(Permutohedral(std::vector<float>{0, 0, std::numeric_limits<float>::quiet_NaN(), 0}, 2), Error);
  EXPECT_THROW(Permutohedral(std::vector<float>{0, 0, 0, 1e30f}, 2), Error);
  EXPECT_THROW(Permutohedral(std::vector<float>{0, 0, 0, 1e9f, -1e9f}, 5), Error);  // sums to 0, still too far out
  std::vector<float> out(3);
  EXPECT_THROW(Permutohedral(four, 2).filter(four, out, 2), Error);
}

}  // namespace
}  // namespace usol::maskcut
