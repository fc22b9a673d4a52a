// Groups beside the truth: assignment and metrics equal SciPy's and scikit-learn's (tests/golden/make_groups.py).
#include "usol/eval/clusters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/eval/assignment.h"
#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

TEST(Assignment, EqualsScipys) {
  const auto golden = test::load_golden("groups.safetensors");
  for (const std::string name : {"square", "wide", "tall", "ties"}) {
    const Tensor& cost = golden.at("cost." + name);
    const std::vector<double> costs = cost.to_vector<double>();
    const std::vector<std::int64_t> expected = golden.at("pairs." + name).to_vector<std::int64_t>();
    const Assignment found = least_assignment(costs, cost.size(0), cost.size(1));
    const std::size_t n = expected.size() / 2;
    ASSERT_EQ(found.rows.size(), n) << name;
    double sum = 0, least = 0;
    for (std::size_t i = 0; i < n; ++i) {
      sum += costs[static_cast<std::size_t>(found.rows[i] * cost.size(1) + found.columns[i])];
      least += costs[static_cast<std::size_t>(expected[i] * cost.size(1) + expected[n + i])];
    }
    EXPECT_NEAR(sum, least, 1e-12) << name;
    if (name == "ties") continue;  // several are best
    EXPECT_EQ(found.rows, std::vector<std::int64_t>(expected.begin(), expected.begin() + static_cast<long>(n)));
    EXPECT_EQ(found.columns, std::vector<std::int64_t>(expected.begin() + static_cast<long>(n), expected.end()));
  }
}

TEST(Assignment, OfGainsAndOfNothing) {
  const Assignment best = largest_assignment(std::vector<double>{1, 5, 4, 6}, 2, 2);  // 5 + 4 beats 1 + 6
  EXPECT_EQ(best.columns, (std::vector<std::int64_t>{1, 0}));
  EXPECT_TRUE(least_assignment({}, 0, 3).rows.empty());
  EXPECT_THROW(least_assignment(std::vector<double>{1}, 1, 2), Error);
  EXPECT_THROW(least_assignment(std::vector<double>{1, std::nan("")}, 1, 2), Error);
}

TEST(Agreement, EqualsScikitLearns) {
  const auto golden = test::load_golden("groups.safetensors");
  const auto expected = golden.at("agreement").to_vector<double>();
  const Agreement found =
      agreement(golden.at("true").to_vector<std::int64_t>(), golden.at("found").to_vector<std::int64_t>());
  EXPECT_NEAR(found.purity, expected[0], 1e-12);
  EXPECT_NEAR(found.nmi, expected[1], 1e-12);
  EXPECT_NEAR(found.accuracy, expected[2], 1e-12);
  EXPECT_EQ(found.objects, 60);
}

TEST(Agreement, AtItsEnds) {
  const std::vector<std::int64_t> one{3, 3, 3, 3}, two{1, 1, 2, 2}, other{8, 8, 5, 5};
  EXPECT_EQ(agreement(two, other).nmi, 1);
  EXPECT_EQ(agreement(two, other).accuracy, 1);
  EXPECT_EQ(agreement(two, one).nmi, 0);  // as normalized_mutual_info_score has these
  EXPECT_EQ(agreement(one, two).nmi, 0);
  EXPECT_EQ(agreement(one, one).nmi, 1);
  EXPECT_EQ(agreement(two, one).purity, 0.5);
  EXPECT_EQ(agreement({}, {}).purity, -1);
  EXPECT_THROW(agreement(one, {}), Error);
}

io::CocoAnnotation object(std::int64_t image, std::int64_t category, const io::Box& box, double score = 1) {
  io::CocoAnnotation annotation;
  annotation.image_id = image;
  annotation.category_id = category;
  annotation.box = box;
  annotation.area = box[2] * box[3];
  annotation.score = score;
  annotation.has_box = annotation.has_category = annotation.has_area = annotation.has_score = true;
  return annotation;
}

// Two pictures with two cats (7) and a dog (9).
io::AnnotationSet truth() {
  io::AnnotationSet set;
  set.name = "gt.json";
  set.images = {{1, 100, 100, "a.png"}, {2, 100, 100, "b.png"}};
  set.categories = {{7, "cat", ""}, {9, "dog", ""}};
  set.annotations = {object(1, 7, {0, 0, 10, 10}), object(1, 9, {50, 50, 10, 10}), object(2, 7, {0, 0, 20, 20}),
                     object(2, 9, {60, 60, 30, 30})};
  set.annotations.back().is_crowd = true;
  return set;
}

io::AnnotationSet groups() {
  io::AnnotationSet set;
  set.name = "groups.json";
  set.images = truth().images;
  set.categories = {{1, "group 1", "group"}, {2, "group 2", "group"}, {3, "group 3", "group"}, {4, "other", "other"}};
  return set;
}

TEST(AssignGroups, TakesTheCategoriesThatFitMostObjects) {
  io::AnnotationSet found = groups();
  found.annotations = {object(1, 2, {0, 0, 10, 10}), object(2, 2, {0, 0, 20, 18}), object(1, 1, {50, 50, 10, 6}),
                       object(1, 3, {80, 80, 5, 5}), object(2, 1, {60, 60, 30, 30})};  // the crowd's place: no match
  const GroupAssignment result = assign_groups(truth(), found, IouType::kBox);
  ASSERT_EQ(result.groups.size(), 4u);
  EXPECT_EQ(result.groups[0].category, 9);
  EXPECT_EQ(result.groups[1].category, 7);
  EXPECT_EQ(result.groups[1].category_name, "cat");
  EXPECT_EQ(result.groups[1].matched, 2);
  EXPECT_EQ(result.groups[1].right, 2);
  EXPECT_FALSE(result.groups[2].category.has_value());
  EXPECT_EQ(result.agreement.objects, 3);
  EXPECT_EQ(result.agreement.accuracy, 1);
  EXPECT_EQ(take_categories(found, result), 1);
  ASSERT_EQ(found.annotations.size(), 4u);
  EXPECT_EQ(found.annotations[0].category_id, 7);
  EXPECT_EQ(found.annotations[3].category_id, 9);
  EXPECT_EQ(found.annotations[3].record, 4);
}

TEST(AssignGroups, TheBestScoreTakesATruthAndOtherTakesNoCategory) {
  io::AnnotationSet found = groups();
  found.annotations = {object(2, 1, {0, 0, 20, 20}, 0.4), object(2, 3, {0, 0, 20, 16}, 0.9),
                       object(1, 4, {0, 0, 10, 10}), object(1, 4, {50, 50, 10, 10})};
  const GroupAssignment result = assign_groups(truth(), found, IouType::kBox);
  EXPECT_EQ(result.groups[0].matched, 0);
  EXPECT_EQ(result.groups[2].category, 7);
  EXPECT_FALSE(result.groups[3].category.has_value());
  EXPECT_EQ(result.groups[3].matched, 2);
  EXPECT_EQ(result.agreement.objects, 3);
  EXPECT_NEAR(result.agreement.accuracy, 1.0 / 3, 1e-12);
}

TEST(AssignGroups, SaysWhatIsMissing) {
  io::AnnotationSet found = groups();
  found.annotations = {object(5, 1, {0, 0, 20, 20})};
  EXPECT_THROW(assign_groups(truth(), found, IouType::kBox), Error);
  found.annotations = {object(1, 1, {0, 0, 20, 20})};
  EXPECT_THROW(assign_groups(truth(), found, IouType::kMask), Error);  // no mask
  io::AnnotationSet nameless = truth();
  nameless.categories.clear();
  EXPECT_THROW(assign_groups(nameless, found, IouType::kBox), Error);
}

}  // namespace
}  // namespace usol::eval
