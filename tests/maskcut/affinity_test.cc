#include "usol/maskcut/affinity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/devices.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

Tensor random_features(std::int64_t depth, std::int64_t n, std::uint64_t seed) {
  Tensor features = Tensor::empty({depth, n});
  Generator rng(seed);
  float* out = features.mutable_data<float>();
  for (std::int64_t i = 0; i < depth * n; ++i) out[i] = rng.normal();
  return features;
}

double cosine(const Tensor& features, std::int64_t a, std::int64_t b) {
  const std::int64_t depth = features.size(0), n = features.size(1);
  const float* f = features.data<float>();
  double ab = 0, aa = 0, bb = 0;
  for (std::int64_t d = 0; d < depth; ++d) {
    const double x = f[d * n + a], y = f[d * n + b];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

TEST(Affinity, BitsAndDegreesAreThoseOfTheDefinition) {
  // Sizes around a word (64) and a panel (256).
  for (const std::int64_t n : {1, 5, 63, 64, 65, 200, 256, 300}) {
    const Tensor features = random_features(24, n, 1);
    const AffinityOptions options;
    const PatchGraph graph(normalize_features(features), options);
    int undecided = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      double degree = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        const double c = cosine(features, i, j);
        ASSERT_EQ(graph.bits().get(i, j), graph.bits().get(j, i));
        if (std::abs(c - options.tau) < 1e-6) {
          ++undecided;
        } else {
          ASSERT_EQ(graph.bits().get(i, j), c >= options.tau) << i << " " << j << " " << c;
        }
        degree += graph.bits().get(i, j) ? 1.0 : options.eps;
      }
      ASSERT_NEAR(graph.degrees()[static_cast<std::size_t>(i)], degree, 1e-12 * static_cast<double>(n));
    }
    EXPECT_LE(undecided, n * n / 1000);
  }
}

// Two patches that have nothing in common hold together by eps alone: the smallest weight there is.
TEST(Affinity, DefaultsAreThePapers) {
  const AffinityOptions options;
  EXPECT_EQ(options.tau, 0.15);
  EXPECT_TRUE(options.inclusive);
  const PatchGraph graph(normalize_features(Tensor::from<float>({1, 0, 0, 1}, {2, 2})), options);
  EXPECT_EQ(graph.degrees(), (std::vector<double>{1 + 1e-5, 1 + 1e-5}));
  EXPECT_DOUBLE_EQ(graph.ncut({1, 0}), 2e-5 / (1 + 1e-5));
}

// Two patches whose cosine is exactly 0.5 in f32: the presets differ on it.
TEST(Affinity, TheBoundItselfIsInsideForPaperAndOutsideForRelease) {
  const Tensor features = Tensor::from<float>({1, 0.5, 0, 0.5, 0, 0.5, 0, 0.5}, {4, 2});
  const Tensor unit = normalize_features(features);
  EXPECT_TRUE(PatchGraph(unit, {.tau = 0.5, .inclusive = true}).bits().get(0, 1));
  EXPECT_FALSE(PatchGraph(unit, {.tau = 0.5, .inclusive = false}).bits().get(0, 1));
}

TEST(Affinity, PaintingOutEqualsZeroFeatures) {
  const std::int64_t n = 150;
  const Tensor features = random_features(8, n, 2);
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(n), 0);
  Tensor zeroed = features.clone();
  for (const std::int64_t i : {0, 7, 64, 149}) {
    marks[static_cast<std::size_t>(i)] = 1;
    zeroed.slice(1, i, i + 1).fill(0);
  }
  // A threshold of zero or less connects featureless patches with everything: cos 0 >= tau.
  for (const double tau : {0.15, 0.0, -0.1})
    for (const bool inclusive : {true, false}) {
      const AffinityOptions options{.tau = tau, .inclusive = inclusive};
      PatchGraph painted(normalize_features(features), options);
      painted.paint_out(marks);
      const PatchGraph expected(normalize_features(zeroed), options);
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j)
          ASSERT_EQ(painted.bits().get(i, j), expected.bits().get(i, j)) << tau << inclusive << " " << i << " " << j;
      EXPECT_EQ(painted.degrees(), expected.degrees());
      const bool connected = inclusive ? tau <= 0 : tau < 0;
      EXPECT_EQ(painted.bits().get(7, 7), connected);
    }
}

TEST(Affinity, NcutIsShiAndMaliksEquationTwo) {
  const std::int64_t n = 70;
  const PatchGraph graph(normalize_features(random_features(3, n, 3)), {});
  const std::vector<float> w = graph.dense().to_vector<float>();
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(n), 0);
  for (std::size_t i = 0; i < 30; ++i) marks[2 * i] = 1;
  double cut = 0, inside = 0, outside = 0;
  for (std::size_t i = 0; i < marks.size(); ++i)
    for (std::size_t j = 0; j < marks.size(); ++j) {
      const double weight = w[i * marks.size() + j];
      (marks[i] != 0 ? inside : outside) += weight;
      if (marks[i] != 0 && marks[j] == 0) cut += weight;
    }
  EXPECT_NEAR(graph.ncut(marks), cut / inside + cut / outside, 1e-7);
  EXPECT_EQ(graph.ncut(std::vector<std::uint8_t>(static_cast<std::size_t>(n), 1)), 2);
  EXPECT_EQ(graph.ncut(std::vector<std::uint8_t>(static_cast<std::size_t>(n), 0)), 2);
}

TEST(Affinity, NormalizingKeepsZeroAndExtremeColumnsFinite) {
  const Tensor unit = normalize_features(Tensor::from<float>({3e38f, 0, 1e-20f, 3, 3e38f, 0, 0, 4}, {2, 4}));
  const std::vector<float> values = unit.to_vector<float>();
  EXPECT_NEAR(values[0], std::sqrt(0.5), 1e-6);
  EXPECT_EQ(values[1], 0);
  EXPECT_NEAR(values[2], 1e-8, 1e-14);  // divided by the floor of 1e-12, not by its length
  EXPECT_NEAR(values[3], 0.6, 1e-7);
  EXPECT_NEAR(values[7], 0.8, 1e-7);
}

TEST(Affinity, RefusesWhatItCannotTake) {
  EXPECT_THROW(normalize_features(Tensor::zeros({3})), Error);
  EXPECT_THROW(normalize_features(Tensor::zeros({3, 2}, DType::kF64)), Error);
  EXPECT_THROW(normalize_features(Tensor::full({2, 2}, std::numeric_limits<double>::quiet_NaN())), Error);
  EXPECT_THROW(normalize_features(Tensor::full({2, 2}, std::numeric_limits<double>::infinity())), Error);
  EXPECT_THROW(PatchGraph(Tensor::zeros({2, 2}), {.eps = 0}), Error);
}

void expect_batches(Device device) {
  for (const std::int64_t n : {1, 5, 64, 65, 150}) {
    std::vector<float> values;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const Tensor one = random_features(19, n, seed);
      values.insert(values.end(), one.data<float>(), one.data<float>() + one.numel());
    }
    const Tensor features = Tensor::from(values, {3, 19, n});
    // With a tau of 0 or less, padding (cos 0) would count as similar if it were not left out.
    for (const double tau : {0.15, 0.0, -0.1}) {
      const AffinityOptions options{.tau = tau};
      const GraphBatch batch = patch_graphs(features.to(device), options);
      ASSERT_EQ(batch.graphs.size(), 3u);
      for (std::int64_t i = 0; i < 3; ++i) {
        ASSERT_FALSE(batch.errors[static_cast<std::size_t>(i)]);
        const Tensor one = features.select(0, i).contiguous();
        const BitMatrix& bits = batch.graphs[static_cast<std::size_t>(i)]->bits();
        const PatchGraph alone(normalize_features(one), options);
        ASSERT_EQ(bits.raw().size(), alone.bits().raw().size());
        for (std::int64_t a = 0; a < n; ++a)
          for (std::int64_t b = 0; b < n; ++b) {
            ASSERT_EQ(bits.get(a, b), bits.get(b, a));
            if (std::abs(cosine(one, a, b) - tau) > 1e-6) ASSERT_EQ(bits.get(a, b), alone.bits().get(a, b));
          }
        for (std::int64_t row = 0; row < bits.words() * 64; ++row)  // the padding is empty
          for (std::int64_t w = 0; w < bits.words(); ++w) {
            const std::int64_t valid = row < n ? n - w * 64 : 0;
            if (valid < 64) ASSERT_EQ(valid <= 0 ? bits.word(row, w) : bits.word(row, w) >> valid, 0u);
          }
      }
    }
  }
  Tensor features = random_features(4, 12, 9).reshape({2, 4, 6});
  features.mutable_data<float>()[30] = std::numeric_limits<float>::infinity();
  const GraphBatch batch = patch_graphs(features.to(device), {});
  EXPECT_TRUE(batch.graphs[0] && !batch.errors[0]);
  EXPECT_TRUE(!batch.graphs[1] && batch.errors[1]);
}

TEST(Affinity, ABatchIsEachPictureAlone) { expect_batches(Device::cpu()); }

TEST(CudaAffinity, ABatchIsEachPictureAlone) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  expect_batches(Device::cuda());
}

}  // namespace
}  // namespace usol::maskcut
