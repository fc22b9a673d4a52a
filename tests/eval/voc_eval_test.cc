// VOC's average precision and the assignment of groups, against LOST's own code (tests/golden/make_voc_eval.py).
#include "usol/eval/voc_eval.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

using Json = nlohmann::json;

double value(const Metrics& metrics, const std::string& name) {
  for (const auto& [known, number] : metrics)
    if (known == name) return number;
  return -2;
}

class VocEvalTest : public testing::Test {
 protected:
  VocEvalTest() {
    golden_ = Json::parse(test::read_text(test::golden_path("voc_eval.json")));
    test::write_text(folder_ / "truth.json", golden_["truth"].dump());
    test::write_text(folder_ / "found.json", golden_["predictions"].dump());
    truth_ = io::read_coco(folder_ / "truth.json");
    found_ = io::read_coco(folder_ / "found.json");
  }
  test::TempDir folder_;
  Json golden_;
  io::AnnotationSet truth_, found_;
};

TEST_F(VocEvalTest, GroupsAreAssignedAndScoredAsLosts) {
  const VocEvalResult result = evaluate_voc(truth_, found_, VocGroups::kAreAssigned);
  ASSERT_EQ(result.categories.size(), golden_["expected"].size());
  std::map<std::string, double> sums;
  for (std::size_t k = 0; k < result.categories.size(); ++k) {
    const Json& expected = golden_["expected"][k];
    EXPECT_EQ(result.categories[k].group, expected["group"].get<std::int64_t>()) << k;
    for (const char* name : {"AP", "AP50", "AP75"}) {
      EXPECT_NEAR(value(result.categories[k].metrics, name), expected[name].get<double>(), 1e-9) << k << name;
      sums[name] += expected[name].get<double>();
    }
  }
  for (const auto& [name, sum] : sums)
    EXPECT_NEAR(value(result.metrics, name), sum / static_cast<double>(result.categories.size()), 1e-9) << name;
  EXPECT_GT(result.unknown_category, 0);  // there is a group more than categories
}

TEST_F(VocEvalTest, CategoriesAsTheyAre) {
  const VocEvalResult result = evaluate_voc(truth_, found_);
  for (std::size_t k = 0; k < result.categories.size(); ++k)
    EXPECT_NEAR(value(result.categories[k].metrics, "AP50"), golden_["rewards"][k][k].get<double>(), 1e-9) << k;
}

TEST_F(VocEvalTest, FewerGroupsThanCategoriesAndNone) {
  io::AnnotationSet one = io::read_coco(folder_ / "found.json");
  std::erase_if(one.annotations, [](const io::CocoAnnotation& a) { return a.category_id != 1; });
  const VocEvalResult result = evaluate_voc(truth_, one, VocGroups::kAreAssigned);
  std::int64_t without = 0;
  for (const VocEvalResult::Category& category : result.categories) {
    without += !category.group.has_value();
    if (!category.group) EXPECT_EQ(value(category.metrics, "AP50"), 0);
  }
  EXPECT_EQ(without, 2);
  one.annotations.clear();
  EXPECT_EQ(value(evaluate_voc(truth_, one, VocGroups::kAreAssigned).metrics, "AP50"), 0);
  io::AnnotationSet empty = io::read_coco(folder_ / "truth.json");
  empty.annotations.clear();
  EXPECT_EQ(value(evaluate_voc(empty, found_).metrics, "AP50"), -1);
}

TEST_F(VocEvalTest, ObjectsOfNoGroupDoNotCount) {
  const auto best = evaluate_voc(truth_, found_, VocGroups::kAreAssigned).categories.front().group;
  ASSERT_TRUE(best.has_value());
  io::AnnotationSet without = io::read_coco(folder_ / "found.json"), other = io::read_coco(folder_ / "found.json");
  std::erase_if(without.annotations, [&](const io::CocoAnnotation& a) { return a.category_id == *best; });
  other.categories = {{*best, "other", "other"}};
  const VocEvalResult expected = evaluate_voc(truth_, without, VocGroups::kAreAssigned),
                      result = evaluate_voc(truth_, other, VocGroups::kAreAssigned);
  EXPECT_NE(result.categories.front().group, best);
  EXPECT_EQ(result.metrics, expected.metrics);
}

TEST_F(VocEvalTest, WhatIsMissingIsNamed) {
  found_.annotations[2].image_id = 999;
  EXPECT_THROW(evaluate_voc(truth_, found_), Error);
  EXPECT_THROW(evaluate_voc(found_, found_), Error);
}

}  // namespace
}  // namespace usol::eval
