// Bisecting k-means on maps whose clusters are known: no other implementation was at hand to compare with.
#include "usol/maskcut/baselines/bisecting_kmeans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

constexpr std::int64_t kPatch = 8;

// Background '.', and objects that are alike enough (cosine 0.6) to be one foreground, with a little noise.
Tensor features_of(const std::vector<std::string>& rows, double noise = 0.02) {
  constexpr std::int64_t kDim = 16;
  const auto height = static_cast<std::int64_t>(rows.size()), width = static_cast<std::int64_t>(rows[0].size());
  Generator generator(3);
  Tensor features = Tensor::zeros({kDim, height, width});
  float* f = features.mutable_data<float>();
  const std::int64_t n = height * width;
  for (std::int64_t i = 0; i < n; ++i) {
    const char c = rows[static_cast<std::size_t>(i / width)][static_cast<std::size_t>(i % width)];
    if (c == '.') {
      f[i] = 1;
    } else {
      f[n + i] = std::sqrt(0.6f);
      f[(2 + c - 'a') * n + i] = std::sqrt(0.4f);
    }
    for (std::int64_t k = 0; k < kDim; ++k) f[k * n + i] += static_cast<float>(noise) * generator.normal();
  }
  return features;
}

std::vector<std::string> rows_of(const Tensor& mask) {
  std::vector<std::string> rows;
  for (std::int64_t y = 0; y < mask.size(0); ++y) {
    std::string row;
    for (const std::uint8_t v : mask.select(0, y).contiguous().to_vector<std::uint8_t>()) row += v != 0 ? '#' : '.';
    rows.push_back(row);
  }
  return rows;
}

const std::vector<std::string> kThree = {"............", ".aaaa.......", ".aaaabbb....", ".aaaabbb....",
                                         ".aaaabbb....", "......cc....", "......cc....", "............"};

TEST(BisectingKmeans, Defaults) {
  const BisectingKmeansOptions options;
  EXPECT_EQ(options.tau, 0.2);
  EXPECT_EQ(options.eps, 1e-5);
  EXPECT_EQ(options.clusters, 3);
  EXPECT_EQ(options.min_area, 0.01);
  EXPECT_EQ(options.trials, 10);
  EXPECT_EQ(options.iterations, 100);
}

TEST(BisectingKmeans, SplitsTouchingObjectsAndOrdersThemBySize) {
  const auto objects = bisecting_kmeans(features_of(kThree), kPatch, {64, 96});
  ASSERT_EQ(objects.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<std::string> expected = kThree;
    for (auto& row : expected)
      for (char& c : row) c = c == "abc"[i] ? '#' : '.';
    EXPECT_EQ(rows_of(objects[i].mask), expected) << i;
    const std::int64_t seed = objects[i].seed;
    EXPECT_EQ(expected[static_cast<std::size_t>(seed / 12)][static_cast<std::size_t>(seed % 12)], '#');
  }
  EXPECT_EQ(objects[0].box, (PixelBox{8, 8, 40, 40}));
  EXPECT_EQ(objects[2].box, (PixelBox{48, 40, 64, 56}));
}

TEST(BisectingKmeans, TheSeedDecidesAndNothingElse) {
  const Tensor features = features_of(kThree, 0.5);  // noise without structure: starts matter
  std::set<std::vector<std::string>> seen;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    const BisectingKmeansOptions options{.trials = 1, .iterations = 2, .seed = seed};
    const auto first = bisecting_kmeans(features, kPatch, {64, 96}, options);
    const auto again = bisecting_kmeans(features, kPatch, {64, 96}, options);
    ASSERT_EQ(first.size(), again.size());
    ASSERT_FALSE(first.empty());
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(rows_of(first[i].mask), rows_of(again[i].mask));
    seen.insert(rows_of(first[0].mask));
  }
  EXPECT_GT(seen.size(), 1u);
}

TEST(BisectingKmeans, FewerClustersThanAskedFor) {
  // One object of equal features cannot be split; nor is there anything in a flat picture.
  EXPECT_EQ(bisecting_kmeans(features_of({"......", ".aaa..", ".aaa..", "......"}, 0), kPatch, {32, 48}).size(), 1u);
  EXPECT_TRUE(bisecting_kmeans(Tensor::full({3, 4, 4}, 1), kPatch, {32, 32}).empty());
  EXPECT_EQ(bisecting_kmeans(features_of(kThree), kPatch, {64, 96}, {.clusters = 1}).size(), 1u);
  EXPECT_EQ(bisecting_kmeans(features_of(kThree), kPatch, {64, 96}, {.min_area = 0.05}).size(), 2u);  // 4 of 96
}

TEST(BisectingKmeans, RefusesBadInput) {
  const Tensor features = Tensor::full({6, 3, 4}, 0.1);
  EXPECT_THROW(bisecting_kmeans(features, 8, {24, 33}), Error);
  EXPECT_THROW(bisecting_kmeans(features, 8, {24, 32}, {.clusters = 0}), Error);
  EXPECT_THROW(bisecting_kmeans(features, 8, {24, 32}, {.trials = 0}), Error);
}

}  // namespace
}  // namespace usol::maskcut
