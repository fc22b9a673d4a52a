// FreeSOLO's free masks against its public script (golden, made by tests/golden/make_freemask.py), and the method of
// `usol discover` around them.
#include "usol/maskcut/baselines/freemask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "usol/io/rle.h"
#include "usol/maskcut/components.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class FreeMaskGolden : public testing::TestWithParam<int> {
 protected:
  Tensor get(const std::string& key) const { return golden_.at(std::to_string(GetParam()) + "." + key); }
  Size picture() const {
    const auto size = get("size").to_vector<std::int64_t>();
    return {size[0], size[1]};
  }
  // The records that the script wrote.
  std::vector<Json> records() const {
    std::vector<Json> own;
    for (const Json& record : file_["annotations"])
      if (record["image_id"] == GetParam()) own.push_back(record);
    return own;
  }

 private:
  std::map<std::string, Tensor> golden_ = test::load_golden("freemask.safetensors");
  Json file_ = Json::parse(test::read_text(test::golden_path("freemask.json")));
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(a[i] - b[i])));
  return worst;
}

std::vector<float> maskness_of(const std::vector<FreeMaskCandidate>& candidates) {
  std::vector<float> values;
  for (const FreeMaskCandidate& candidate : candidates) values.push_back(static_cast<float>(candidate.maskness));
  return values;
}

std::vector<float> falling(std::vector<float> values) {
  std::sort(values.begin(), values.end(), std::greater<>());
  return values;
}

TEST_P(FreeMaskGolden, QueriesAndScoresAreTheReleases) {
  const FreeMaskOptions usual;
  const FreeMaskQueries queries = free_mask_queries(get("map"), usual.scales);
  const std::int64_t h = get("map").size(1), w = get("map").size(2);
  EXPECT_EQ(queries.vectors.size(0), h * w + h / 2 * (w / 2) + h / 4 * (w / 4));
  // Without a decay, the masks are in the order of their maskness.
  EXPECT_LT(largest_difference(maskness_of(free_mask_candidates(queries, {.sigma = 0, .most = 10000})),
                               get("before").to_vector<float>()),
            1e-5);
  EXPECT_LT(largest_difference(maskness_of(free_mask_candidates(queries, {.most = 10000})),
                               falling(get("after").to_vector<float>())),
            1e-5);
  const std::vector<FreeMaskCandidate> best = free_mask_candidates(queries, usual);
  EXPECT_EQ(best.size(), std::min<std::size_t>(20, static_cast<std::size_t>(get("after").numel())));
  for (std::int64_t i = 0; i < get("soft").size(0); ++i)
    EXPECT_LT(largest_difference(queries.soft.select(0, best[static_cast<std::size_t>(i)].query).to_vector<float>(),
                                 get("soft").select(0, i).to_vector<float>()),
              1e-5)
        << i;
}

TEST_P(FreeMaskGolden, MasksScoresBoxesAndEmbeddingsAreTheReleases) {
  const std::vector<Json> expected = records();
  const FreeMasks found = free_masks(get("map"), picture());
  ASSERT_FALSE(expected.empty());
  ASSERT_EQ(found.masks.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const FreeMask& mask = found.masks[i];
    EXPECT_EQ(io::rle_to_string(io::rle_encode(mask.mask)), expected[i]["segmentation"]["counts"].get<std::string>())
        << i;
    EXPECT_NEAR(mask.maskness, expected[i]["score"].get<double>(), 1e-5);
    for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(mask.corners[k], expected[i]["bbox"][k].get<double>(), 1e-4);
    EXPECT_LT(largest_difference(mask.embedding, get("emb").select(0, static_cast<std::int64_t>(i)).to_vector<float>()),
              1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Maps, FreeMaskGolden, testing::Values(1, 2, 3, 5));

class ConstantMap : public FreeMaskGolden {};

// All cells are alike: the release divides 0 by 0 and writes no record of the picture.
TEST_P(ConstantMap, HasNoMasks) {
  EXPECT_TRUE(records().empty());
  const FreeMasks found = free_masks(get("map"), picture());
  EXPECT_TRUE(found.masks.empty());
  EXPECT_EQ(found.soft.shape(), (Shape{picture().height, picture().width}));
  EXPECT_EQ(falling(found.soft.to_vector<float>()).front(), 0);
}

INSTANTIATE_TEST_SUITE_P(Maps, ConstantMap, testing::Values(4));

TEST(FreeMaskEmbedding, Of2048NumbersIsTheMeanOfTheMiddleTwoOfSixteen) {
  std::vector<float> vector(2048);
  for (std::size_t i = 0; i < vector.size(); ++i) vector[i] = std::sin(static_cast<float>(i * i));
  const std::vector<float> embedding = free_mask_embedding(Tensor::from(vector, {2048}));
  ASSERT_EQ(embedding.size(), 128u);
  for (std::size_t i = 0; i < 128; ++i)
    EXPECT_NEAR(embedding[i], (vector[16 * i + 7] + vector[16 * i + 8]) / 2, 1e-6) << i;
}

// Source: FreeSOLO's demo/inference_freemask.py.
TEST(FreeMaskDefaults, AreTheReleases) {
  const FreeMaskOptions options;
  EXPECT_EQ(options.scales, (std::vector<double>{1, 0.5, 0.25}));
  EXPECT_EQ(options.threshold, 0.5);
  EXPECT_EQ(options.sigma, 2);
  EXPECT_EQ(options.most, 20);
  EXPECT_EQ(options.least_maskness, 0.7);
  EXPECT_EQ(options.top_share, 0.2);
  EXPECT_EQ(options.widest_share, 0.95);
}

// Two directions that are orthogonal: `rows` x `columns` cells at (top, left) of one, the others of the other.
Tensor two_parts(std::int64_t h, std::int64_t w, const PixelBox& box) {
  Tensor map = Tensor::zeros({2, h, w});
  map.select(0, 0).fill(1);
  for (std::int64_t channel = 0; channel < 2; ++channel)
    map.select(0, channel).slice(0, box.y0, box.y1).slice(1, box.x0, box.x1).fill(static_cast<double>(channel));
  return map;
}

TEST(FreeMaskRules, MasksAtTheTopAndWideOnesAreDropped) {
  const Size picture{80, 80};
  const auto count = [&](const PixelBox& box, const FreeMaskOptions& options) {
    return free_masks(two_parts(8, 8, box), picture, options).masks.size();
  };
  // The object and what is around it, which is as wide as the picture.
  EXPECT_EQ(count({2, 3, 6, 6}, {}), 1u);
  EXPECT_EQ(count({2, 3, 6, 6}, {.widest_share = 2}), 2u);
  EXPECT_EQ(count({2, 0, 6, 3}, {}), 0u) << "centred at 14.5 of 80 pixels";
  EXPECT_EQ(count({2, 0, 6, 3}, {.top_share = 0.18}), 1u);
  EXPECT_EQ(count({2, 0, 6, 3}, {.top_share = 0}), 1u);
  EXPECT_EQ(count({2, 3, 6, 6}, {.least_maskness = 1}), 1u) << "the mask is the purest there is";
  EXPECT_EQ(count({2, 3, 3, 4}, {}), 0u) << "a single cell is no mask";
}

// A part in two pieces is one mask; the release's box is as wide as its columns are many.
TEST(FreeMaskRules, BoxOfAMaskWithAGap) {
  Tensor map = two_parts(8, 8, {1, 3, 2, 7});
  map.select(0, 0).slice(0, 3, 7).slice(1, 5, 7).fill(0);
  map.select(0, 1).slice(0, 3, 7).slice(1, 5, 7).fill(1);
  const FreeMasks found = free_masks(map, {8, 8}, {.scales = {1}});
  ASSERT_EQ(found.masks.size(), 1u);
  const double mean = (1 + 5 + 6) / 3.0;
  EXPECT_NEAR(found.masks[0].corners[0], mean - 1.5, 1e-9);
  EXPECT_NEAR(found.masks[0].corners[2], mean + 1.5, 1e-9);
  EXPECT_EQ(found.masks[0].corners[1], 4.5 - 2 + 0.5 - 0.5);
}

std::string error_of(const Tensor& map, const std::vector<double>& scales = {1}) {
  try {
    free_mask_queries(map, scales);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(FreeMaskErrors, SayWhatIsWrong) {
  EXPECT_THAT(error_of(Tensor::zeros({2, 3})), HasSubstr("expected f32 [C, h, w] on the CPU"));
  EXPECT_THAT(error_of(Tensor::full({1, 2, 2}, std::numeric_limits<double>::infinity())),
              HasSubstr("value 0 of the features is not finite"));
  EXPECT_THAT(error_of(Tensor::zeros({1, 100, 51})), HasSubstr("100 x 51 cells are more than 5000"));
  EXPECT_THAT(error_of(Tensor::zeros({1, 4, 4}), {0}), HasSubstr("expected scales above 0 and at most 1, got 0"));
  EXPECT_THAT(error_of(Tensor::zeros({1, 1, 8}), {0.5}), HasSubstr("no scale leaves a cell of 1 x 8"));
}

// A part of the map may be zero, as a cell of a ReLU's map may be: it is like no other cell.
TEST(FreeMaskErrors, ZerosAreNoDisaster) {
  Tensor map = two_parts(8, 8, {2, 3, 6, 6});
  map.select(1, 0).slice(1, 0, 1).fill(0);
  EXPECT_EQ(free_masks(map, {80, 80}, {}).masks.size(), 1u);
}

}  // namespace
}  // namespace usol::maskcut
