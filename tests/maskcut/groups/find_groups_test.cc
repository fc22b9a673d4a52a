// Agglomeration and silhouettes beside scikit-learn's (tests/golden/make_groups.py); groups, their order, and outliers.
#include "usol/maskcut/groups/find_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/maskcut/groups/agglomerate.h"
#include "usol/maskcut/groups/silhouette.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

// Renumbered in the order in which groups first occur.
std::vector<std::int64_t> in_order(const std::vector<std::int64_t>& labels) {
  std::map<std::int64_t, std::int64_t> number;
  std::vector<std::int64_t> out;
  for (const std::int64_t label : labels)
    out.push_back(number.try_emplace(label, static_cast<std::int64_t>(number.size())).first->second);
  return out;
}

TEST(Agglomerate, EqualsScikitLearns) {
  const auto golden = test::load_golden("groups.safetensors");
  for (const std::string threshold : {"0.3", "0.6", "0.9"}) {
    const auto found = agglomerate(rows_of(golden.at("rows")), {.threshold = std::stod(threshold)});
    EXPECT_EQ(found, in_order(golden.at("average." + threshold).to_vector<std::int64_t>())) << threshold;
  }
}

TEST(Agglomerate, ThresholdIsExclusive) {
  // Cosine 0 between the two pairs' directions: their distance is 1.
  const Tensor rows = Tensor::from(std::vector<float>{1, 0, 2, 0, 0, 1, 0, 3}, {4, 2});
  EXPECT_EQ(agglomerate(rows_of(rows), {.threshold = 1}), (std::vector<std::int64_t>{0, 0, 1, 1}));
  EXPECT_EQ(agglomerate(rows_of(rows), {.threshold = 1.0001}), (std::vector<std::int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(agglomerate(rows_of(rows), {.threshold = 0}), (std::vector<std::int64_t>{0, 1, 2, 3}));
}

// `each` rows near each of `places` axes.
Tensor clumps(std::int64_t each, std::int64_t places, std::int64_t dim, double noise, std::uint64_t seed = 1) {
  Generator generator(seed);
  Tensor rows = Tensor::empty({each * places, dim});
  float* to = rows.mutable_data<float>();
  for (std::int64_t i = 0; i < each * places; ++i)
    for (std::int64_t k = 0; k < dim; ++k)
      *to++ = static_cast<float>((k == i % places ? 1 : 0) + noise * generator.normal());
  return rows;
}

TEST(Agglomerate, ManyRowsAreJoinedBySmallGroups) {
  const Tensor rows = clumps(100, 5, 16, 0.05);
  const auto all = agglomerate(rows_of(rows), {.threshold = 0.5});
  EXPECT_EQ(agglomerate(rows_of(rows), {.threshold = 0.5, .most = 40}), all);
  EXPECT_EQ(1 + *std::max_element(all.begin(), all.end()), 5);
}

TEST(Silhouette, EqualsScikitLearns) {
  const auto golden = test::load_golden("groups.safetensors");
  const auto labels = golden.at("unit.labels").to_vector<std::int64_t>();
  const auto expected = golden.at("unit.silhouette").to_vector<double>();
  const std::vector<std::int64_t> groups{2, 3, 5, 7, 9};
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto first = labels.begin() + static_cast<long>(240 * i);
    EXPECT_NEAR(mean_silhouette(rows_of(golden.at("rows")), {first, first + 240}, groups[i]), expected[i], 1e-6);
  }
  EXPECT_THROW(mean_silhouette(rows_of(golden.at("rows")), {0, 1}, 2), Error);
}

TEST(FindGroups, ChoosesTheNumberOfLargestSilhouette) {
  for (const std::int64_t places : {3, 6, 12}) {
    const FoundGroups found = find_groups(rows_of(clumps(20, places, 16, 0.1)), {});
    EXPECT_EQ(found.groups, places);
    ASSERT_GT(found.silhouettes.size(), 4u);
    const auto best = std::max_element(found.silhouettes.begin(), found.silhouettes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    EXPECT_EQ(best->first, places);
  }
}

TEST(FindGroups, TheLargestComesFirstAndOutliersAreInNone) {
  // 30 rows of one kind, 12 of another; then one that is like neither, and one of the first kind that is half
  // another's.
  Tensor rows = Tensor::zeros({44, 8});
  float* r = rows.mutable_data<float>();
  Generator generator(2);
  for (int i = 0; i < 44; ++i)
    for (int k = 0; k < 8; ++k) r[8 * i + k] = 0.02f * generator.normal();
  for (int i = 0; i < 42; ++i) r[8 * i + (i % 7 < 2 ? 0 : 1)] += 1;
  r[8 * 42 + 5] += 1;
  r[8 * 43 + 1] += 1;
  r[8 * 43 + 0] += 0.9f;
  const FoundGroups found = find_groups(rows_of(rows), {.groups = 2, .deviations = 2});
  EXPECT_EQ(found.groups, 2);
  for (std::size_t i = 0; i < 42; ++i) ASSERT_EQ(found.labels[i], i % 7 < 2 ? 1 : 0) << i;
  EXPECT_EQ(found.labels[42], kNoGroup);
  EXPECT_LT(found.similarity[42], 0.3f);
  EXPECT_GT(found.similarity[0], 0.95f);
  EXPECT_LT(found.margin[43], 0.2f);
  EXPECT_GT(found.margin[0], 0.8f);
  // By margin alone, or by similarity alone.
  const FoundGroups margins = find_groups(rows_of(rows), {.groups = 2, .least_margin = 0.3, .deviations = 0});
  EXPECT_EQ(margins.labels[43], kNoGroup);
  EXPECT_EQ(margins.labels[0], 1);
  const FoundGroups similar = find_groups(rows_of(rows), {.groups = 2, .least_similarity = 0.5, .deviations = 0});
  EXPECT_EQ(similar.labels[42], kNoGroup);
  EXPECT_NE(similar.labels[43], kNoGroup);
  // A group of one is none.
  const FoundGroups three = find_groups(rows_of(rows), {.groups = 3, .deviations = 0});
  EXPECT_EQ(three.labels[42], kNoGroup);
  EXPECT_EQ(find_groups(rows_of(rows), {.groups = 3, .deviations = 0, .least_size = 1}).groups, 3);
}

TEST(FindGroups, CountsWhatIsLeftOutByItsReason) {
  // Two kinds of ten; one row between them, one of zeros, one a little off the second kind, one like nothing.
  Tensor rows = Tensor::zeros({24, 4});
  float* r = rows.mutable_data<float>();
  for (int i = 0; i < 20; ++i) r[4 * i + i % 2] = 1;
  r[4 * 20] = 1, r[4 * 20 + 1] = 0.9f;
  r[4 * 22 + 1] = 1, r[4 * 22 + 2] = 0.4f;
  r[4 * 23 + 3] = 1;
  const FoundGroups found = find_groups(
      rows_of(rows), {.groups = 3, .least_similarity = 0.6, .least_margin = 0.2, .deviations = 2, .least_size = 2});
  EXPECT_EQ(found.left_out.blank, 1);
  EXPECT_EQ(found.left_out.dissimilar, 0);
  EXPECT_EQ(found.left_out.ambiguous, 1);
  EXPECT_EQ(found.left_out.outlying, 1);
  EXPECT_EQ(found.left_out.of_small_groups, 1);
  EXPECT_EQ(found.left_out.all(), std::count(found.labels.begin(), found.labels.end(), kNoGroup));
  EXPECT_EQ(found.labels[21], kNoGroup);
  const FoundGroups two = find_groups(rows_of(rows), {.groups = 2, .least_similarity = 0.6, .deviations = 0});
  EXPECT_EQ(two.left_out.dissimilar, 1);
  EXPECT_EQ(two.labels[23], kNoGroup);
}

TEST(FindGroups, AsManyGroupsAsObjectsAreGroupsOfOne) {
  const Rows rows = rows_of(clumps(5, 2, 16, 0.2));
  for (const std::int64_t groups : {6, 10, 40}) {
    const FoundGroups found = find_groups(rows, {.groups = groups});
    EXPECT_EQ(found.least_size, 1) << groups;
    EXPECT_EQ(found.groups, std::min<std::int64_t>(groups, 10));
    EXPECT_EQ(found.left_out.all(), 0);
  }
  EXPECT_EQ(find_groups(rows, {.groups = 5}).least_size, 2);  // there could be two in each
  EXPECT_EQ(find_groups(rows, {.groups = 10, .least_size = 2}).left_out.of_small_groups, 10);
  EXPECT_EQ(find_groups(rows, {.how = Grouping::kAgglomerate, .threshold = 0}).least_size, 2);
}

TEST(FindGroups, ByAgglomerationToo) {
  const FoundGroups found =
      find_groups(rows_of(clumps(10, 4, 8, 0.05)), {.how = Grouping::kAgglomerate, .threshold = 0.4});
  EXPECT_EQ(found.groups, 4);
  for (std::size_t i = 0; i < found.labels.size(); ++i) EXPECT_EQ(found.labels[i], found.labels[i % 4]);
}

TEST(FindGroups, FewRows) {
  EXPECT_EQ(find_groups({0, 4, {}}, {}).groups, 0);
  const Tensor one = Tensor::full({1, 4}, 1);
  EXPECT_EQ(find_groups(rows_of(one), {.least_size = 1}).groups, 1);
  EXPECT_EQ(find_groups(rows_of(one), {.groups = 20, .least_size = 1}).similarity[0], 1);
  EXPECT_EQ(find_groups(rows_of(one), {}).labels[0], kNoGroup);
  EXPECT_THROW(find_groups(rows_of(one), {.groups = -1}), Error);
}

}  // namespace
}  // namespace usol::maskcut
