// The second eigenvector of a normalized cut: Lanczos against the dense solver, and a defined answer for every hard
// case.
#include "usol/maskcut/ncut.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "tests/support/devices.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

using Connected = std::function<bool(std::int64_t, std::int64_t)>;

PatchGraph make_graph(std::int64_t n, const Connected& connected) {
  BitMatrix bits(n);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j)
      if (connected(i, j)) bits.set_word(i, j / 64, bits.word(i, j / 64) | std::uint64_t{1} << (j % 64));
  bits.mirror_upper();
  return PatchGraph(std::move(bits), {});
}

// Groups of given sizes, each fully connected within: a disconnected graph but for eps.
PatchGraph cliques(const std::vector<std::int64_t>& sizes) {
  std::vector<int> group;
  for (std::size_t g = 0; g < sizes.size(); ++g)
    group.insert(group.end(), static_cast<std::size_t>(sizes[g]), static_cast<int>(g));
  return make_graph(static_cast<std::int64_t>(group.size()), [&](std::int64_t i, std::int64_t j) {
    return group[static_cast<std::size_t>(i)] == group[static_cast<std::size_t>(j)];
  });
}

// Patches around k centres in feature space, blurred: like the features of a picture with k regions.
PatchGraph random_graph(std::int64_t n, int centres, double blur, std::uint64_t seed) {
  const std::int64_t depth = 16;
  Generator rng(seed);
  std::vector<float> centre(static_cast<std::size_t>(centres) * depth);
  for (float& value : centre) value = rng.normal();
  Tensor features = Tensor::empty({depth, n});
  float* out = features.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto c = rng.below(static_cast<std::uint64_t>(centres));
    for (std::int64_t d = 0; d < depth; ++d)
      out[d * n + i] = centre[c * depth + static_cast<std::size_t>(d)] + static_cast<float>(blur) * rng.normal();
  }
  return PatchGraph(normalize_features(features), {});
}

double residual_of(const PatchGraph& graph, const CutVectors& cut, std::int64_t v) {
  // |(D - W) x - lambda D x| against |D x|, from the dense matrix.
  const std::int64_t n = graph.size();
  const double* x = cut.vectors.data<double>() + v * n;
  double error = 0, scale = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double dx = graph.degrees()[static_cast<std::size_t>(i)] * x[i];
    double wx = 0;
    for (std::int64_t j = 0; j < n; ++j) wx += (graph.bits().get(i, j) ? 1.0 : graph.eps()) * x[j];
    error += std::pow(dx - wx - cut.values[static_cast<std::size_t>(v)] * dx, 2);
    scale += dx * dx;
  }
  return std::sqrt(error / scale);
}

void expect_equal(const CutVectors& a, const CutVectors& b, double tolerance) {
  ASSERT_EQ(a.found(), b.found());
  EXPECT_EQ(a.degenerate, b.degenerate);
  const std::int64_t n = a.vectors.size(1);
  for (std::int64_t v = 0; v < a.found(); ++v) {
    EXPECT_NEAR(a.values[static_cast<std::size_t>(v)], b.values[static_cast<std::size_t>(v)], 1e-11);
    const double *x = a.vectors.data<double>() + v * n, *y = b.vectors.data<double>() + v * n;
    double largest = 0;
    for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(y[i]));
    for (std::int64_t i = 0; i < n; ++i) ASSERT_NEAR(x[i], y[i], tolerance * largest) << "vector " << v << " at " << i;
  }
}

TEST(Ncut, LanczosEqualsDense) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const std::int64_t n = 20 + 37 * static_cast<std::int64_t>(seed % 6);
    const PatchGraph graph =
        random_graph(n, 2 + static_cast<int>(seed % 4), 0.4 + 0.1 * static_cast<double>(seed % 7), seed);
    const CutVectors lanczos = smallest_eigenvectors(graph, 3);
    expect_equal(lanczos, smallest_eigenvectors(graph, 3, Eigensolver::kDense), 1e-6);
    EXPECT_LE(lanczos.residual, 1e-10);
    for (std::int64_t v = 0; v < lanczos.found(); ++v) EXPECT_LE(residual_of(graph, lanczos, v), 1e-8) << seed;
  }
}

TEST(Ncut, ATwoByTwoBlockMatrixByHand) {
  // Two groups of 30 and 20. x is constant on each and D-orthogonal to 1, so |x| is larger on the smaller group.
  const PatchGraph graph = cliques({30, 20});
  const CutVectors cut = smallest_eigenvectors(graph, 1);
  ASSERT_EQ(cut.found(), 1);
  EXPECT_EQ(cut.degenerate[0], 0);
  const double eps = graph.eps(), da = 30 + 20 * eps, db = 20 + 30 * eps;
  EXPECT_NEAR(cut.values[0], 20 * eps / da + 30 * eps / db, 1e-13);
  const double* x = cut.vectors.data<double>();
  const double ratio = -(30 * da) / (20 * db);  // x_b / x_a
  for (int i = 0; i < 30; ++i) EXPECT_NEAR(x[i], x[49] / ratio, 1e-9 * x[49]);
  EXPECT_GT(x[30], 0);
}

// Groups of nearly the same size have nearly the same eigenvalues, and still a vector each.
TEST(Ncut, NearlyEqualEigenvalues) {
  for (const auto& sizes : {std::vector<std::int64_t>{100, 120, 60}, {100, 103, 98}, {100, 101, 99}}) {
    const PatchGraph graph = cliques(sizes);
    const CutVectors lanczos = smallest_eigenvectors(graph, 2);
    EXPECT_EQ(lanczos.degenerate, (std::vector<std::uint8_t>{0, 0}));
    EXPECT_LT(lanczos.values[1] - lanczos.values[0], 1e-4);
    EXPECT_GT(lanczos.values[1] - lanczos.values[0], kClusterGap);
    expect_equal(lanczos, smallest_eigenvectors(graph, 2, Eigensolver::kDense), 1e-6);
  }
}

TEST(Ncut, EqualEigenvaluesGiveTheDocumentedVector) {
  for (const std::size_t groups : {3u, 5u, 8u}) {
    const PatchGraph graph = cliques(std::vector<std::int64_t>(groups, 12));
    const CutVectors lanczos = smallest_eigenvectors(graph, 2);
    ASSERT_EQ(lanczos.found(), 2);
    EXPECT_EQ(lanczos.degenerate, (std::vector<std::uint8_t>{1, 1}));
    expect_equal(lanczos, smallest_eigenvectors(graph, 2, Eigensolver::kDense), 1e-9);
    EXPECT_LE(residual_of(graph, lanczos, 0), 1e-10);
  }
}

TEST(Ncut, AWiderClusterHasNoVector) {
  const PatchGraph graph = cliques(std::vector<std::int64_t>(9, 12));  // eight equal eigenvalues
  EXPECT_EQ(smallest_eigenvectors(graph, 1).found(), 0);
  EXPECT_EQ(smallest_eigenvectors(graph, 1, Eigensolver::kDense).found(), 0);
}

TEST(Ncut, NoStructureHasNoVector) {
  const Connected all = [](std::int64_t, std::int64_t) { return true; };
  const Connected none = [](std::int64_t, std::int64_t) { return false; };
  const Connected diagonal = [](std::int64_t i, std::int64_t j) { return i == j; };
  for (const Eigensolver solver : {Eigensolver::kLanczos, Eigensolver::kDense}) {
    for (const std::int64_t n : {1, 2, 3, 4, 5, 100}) {
      EXPECT_EQ(smallest_eigenvectors(make_graph(n, all), 1, solver).found(), 0) << n;
      EXPECT_EQ(smallest_eigenvectors(make_graph(n, none), 1, solver).found(), 0) << n;
    }
    // Every patch like itself only. Of two such patches one is the object: the cut is unique.
    EXPECT_EQ(smallest_eigenvectors(make_graph(2, diagonal), 1, solver).found(), 1);
    for (const std::int64_t n : {3, 4, 9, 100})
      EXPECT_EQ(smallest_eigenvectors(make_graph(n, diagonal), 1, solver).found(), 0) << n;
  }
}

TEST(Ncut, OnePatchAgainstTheRest) {
  const PatchGraph graph = cliques({80, 1});
  for (const Eigensolver solver : {Eigensolver::kLanczos, Eigensolver::kDense}) {
    const CutVectors cut = smallest_eigenvectors(graph, 1, solver);
    ASSERT_EQ(cut.found(), 1);
    const double* x = cut.vectors.data<double>();
    EXPECT_EQ(argmax({x, 81}), 80);
    for (int i = 0; i < 80; ++i) EXPECT_LT(x[i], 0);
  }
}

TEST(Ncut, PaintedOutPatchesShareOneValue) {
  PatchGraph graph = random_graph(120, 3, 0.5, 9);
  std::vector<std::uint8_t> marks(120, 0);
  for (int i = 10; i < 60; ++i) marks[static_cast<std::size_t>(i)] = 1;
  graph.paint_out(marks);
  const CutVectors lanczos = smallest_eigenvectors(graph, 1);
  expect_equal(lanczos, smallest_eigenvectors(graph, 1, Eigensolver::kDense), 1e-6);
  const double* x = lanczos.vectors.data<double>();
  for (int i = 10; i < 60; ++i) EXPECT_NEAR(x[i], x[10], 1e-9);
  // Everything painted out: nothing left to cut.
  graph.paint_out(std::vector<std::uint8_t>(120, 1));
  EXPECT_EQ(smallest_eigenvectors(graph, 1).found(), 0);
}

// A chain: each patch is like its neighbours only, the slowest mixing graph there is.
TEST(Ncut, AChainConverges) {
  const PatchGraph graph = make_graph(400, [](std::int64_t i, std::int64_t j) { return j - i <= 1; });
  const CutVectors cut = smallest_eigenvectors(graph, 1);
  ASSERT_EQ(cut.found(), 1);
  EXPECT_LE(cut.residual, 1e-10);
  EXPECT_LE(residual_of(graph, cut, 0), 1e-9);
}

TEST(Ncut, ArgmaxTakesTheLowestOfTies) {
  const std::vector<double> values{-2, 1, 1 + 2e-9, 0.5, 1 + 3e-9};
  EXPECT_EQ(argmax(values), 2);  // within 1e-9 * 2 of the largest
  const std::vector<double> clear{0.1, 0.3, 0.2};
  EXPECT_EQ(argmax(clear), 1);
  EXPECT_THROW(argmax({}), Error);
}

TEST(Ncut, CanonicalSign) {
  std::vector<double> values{0.5, -1, 0.9};
  make_sign_canonical(values);
  EXPECT_EQ(values, (std::vector<double>{-0.5, 1, -0.9}));
  // A tie is decided by the lowest index.
  std::vector<double> tie{0.1, -1, 1 + 1e-12};
  make_sign_canonical(tie);
  EXPECT_EQ(tie[1], 1);
  EXPECT_THROW(smallest_eigenvectors(cliques({3, 4}), 0), Error);
}

// Graphs of every kind, 83 patches each, solved together on the device and one by one on the host.
TEST(CudaNcut, ABatchFindsWhatTheHostFinds) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  const Device device = Device::cuda();
  std::vector<PatchGraph> graphs;
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    graphs.push_back(random_graph(83, 2 + static_cast<int>(seed), 0.4 + 0.2 * static_cast<double>(seed), seed));
  graphs.push_back(cliques({83}));                     // everything connected: no cut
  graphs.push_back(cliques({41, 42}));                 // an invariant space after few steps
  graphs.push_back(cliques({20, 20, 20, 23}));         // a cluster of two
  graphs.push_back(cliques({16, 16, 16, 16, 16, 3}));  // a cluster that needs the wide block
  graphs.push_back(make_graph(83, [](std::int64_t i, std::int64_t j) { return j - i < 3; }));  // close values
  std::vector<const PatchGraph*> all;
  for (const PatchGraph& graph : graphs) all.push_back(&graph);
  const std::vector<CutOutcome> together = smallest_eigenvectors_batch(all, 1, device);
  ASSERT_EQ(together.size(), graphs.size());
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    ASSERT_FALSE(together[i].error) << i;
    const CutVectors host = smallest_eigenvectors(graphs[i], 1);
    expect_equal(together[i].vectors, host, 1e-9);
    EXPECT_LE(together[i].vectors.residual, 1e-10) << i;
    EXPECT_EQ(together[i].vectors.products, host.products) << i;
  }
  // The same bits in another batch, and alone.
  const std::vector<const PatchGraph*> backwards(all.rbegin(), all.rend());
  const std::vector<CutOutcome> other = smallest_eigenvectors_batch(backwards, 1, device);
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    const CutVectors &a = together[i].vectors, &b = other[graphs.size() - 1 - i].vectors;
    EXPECT_EQ(a.vectors.to_vector<double>(), b.vectors.to_vector<double>()) << i;
  }
  const CutVectors alone = smallest_eigenvectors_batch(std::span(all).subspan(8, 1), 1, device)[0].vectors;
  EXPECT_EQ(alone.vectors.to_vector<double>(), together[8].vectors.vectors.to_vector<double>());
}

// Chains of patches: their eigenvalues crowd together, so the basis fills up and has to be restarted.
TEST(CudaNcut, RestartsEndWhereTheHostsDo) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  std::vector<PatchGraph> graphs;
  for (const std::int64_t reach : {2, 3})
    graphs.push_back(make_graph(260, [reach](std::int64_t i, std::int64_t j) { return j - i < reach; }));
  const std::vector<const PatchGraph*> all{&graphs[0], &graphs[1]};
  const std::vector<CutOutcome> together = smallest_eigenvectors_batch(all, 1, Device::cuda());
  std::int64_t most_products = 0;
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    ASSERT_FALSE(together[i].error) << i;
    expect_equal(together[i].vectors, smallest_eigenvectors(graphs[i], 1), 1e-7);
    EXPECT_LE(together[i].vectors.residual, 1e-10) << i;
    most_products = std::max(most_products, together[i].vectors.products);
  }
  EXPECT_GT(most_products, 140) << "more than a basis holds";
}

}  // namespace
}  // namespace usol::maskcut
