// The COCO protocol against pycocotools (tests/golden/make_coco_eval.py), and its errors.
#include "usol/eval/coco_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::eval {
namespace {

using nlohmann::ordered_json;

constexpr double kTolerance = 1e-9;

io::AnnotationSet read(const ordered_json& document) {
  const test::TempDir folder;
  std::ofstream(folder / "set.json") << document;
  io::AnnotationSet set = io::read_coco(folder / "set.json");
  set.name = document.is_array() ? "pred.json" : "gt.json";
  return set;
}

// USOL_COCO_EVAL_GOLDEN names a longer file of the same script.
const ordered_json& golden() {
  static const ordered_json cases = [] {
    const char* other = std::getenv("USOL_COCO_EVAL_GOLDEN");
    std::ifstream in(other ? other : test::golden_path("coco_eval.json"));
    return ordered_json::parse(in);
  }();
  return cases;
}

// Means over the recall points of [T, R, K, A, M].
std::vector<double> means_over_recall(const Tensor& values) {
  const std::int64_t inner = values.size(2) * values.size(3) * values.size(4);
  const auto flat = values.to_vector<double>();
  std::vector<double> means;
  for (std::int64_t t = 0; t < values.size(0); ++t) {
    for (std::int64_t i = 0; i < inner; ++i) {
      double sum = 0;
      for (std::int64_t r = 0; r < values.size(1); ++r) {
        sum += flat[static_cast<std::size_t>((t * values.size(1) + r) * inner + i)];
      }
      means.push_back(sum / static_cast<double>(values.size(1)));
    }
  }
  return means;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], kTolerance) << what << " " << i;
}

TEST(CocoEval, HasTheProtocolsOwnThresholds) {
  const auto thresholds = coco_iou_thresholds();
  const auto points = coco_recall_points();
  EXPECT_EQ(std::vector<double>(thresholds.begin(), thresholds.end()),
            golden()["iou_thresholds"].get<std::vector<double>>());
  EXPECT_EQ(CocoEvalOptions{}.max_dets, (std::vector<int>{1, 10, 100}));
  EXPECT_EQ(std::vector<double>(points.begin(), points.end()), golden()["recall_points"].get<std::vector<double>>());
}

TEST(CocoEval, EqualsPycocotools) {
  int runs = 0;
  for (const auto& c : golden()["cases"]) {
    const io::AnnotationSet truth = read(c["truth"]), predictions = read(c["predictions"]);
    for (const auto& run : c["runs"]) {
      const std::string what = c["name"].get<std::string>() + ", " + run["type"].get<std::string>() +
                               (run["class_agnostic"] ? ", class-agnostic" : "");
      CocoEvalOptions options;
      options.class_agnostic = run["class_agnostic"];
      options.max_dets = run["max_dets"].get<std::vector<int>>();
      const IouType type = run["type"] == "bbox" ? IouType::kBox : IouType::kMask;
      const CocoEvalResult lean = evaluate_coco(truth, predictions, type, options);
      options.curves = true;
      const CocoEvalResult full = evaluate_coco(truth, predictions, type, options);
      EXPECT_EQ(lean.metrics, full.metrics) << what;
      ASSERT_EQ(full.metrics.size(), run["metrics"].size()) << what;
      std::size_t i = 0;
      for (const auto& [name, value] : run["metrics"].items()) {
        EXPECT_EQ(full.metrics[i].first, name);
        EXPECT_NEAR(full.metrics[i].second, value.get<double>(), kTolerance) << what << " " << name;
        ++i;
      }
      std::vector<double> per_category;
      for (const auto& category : full.categories) per_category.push_back(category.metrics.front().second);
      expect_near(per_category, run["per_category"], what + " per category");
      ++runs;
      if (!run.contains("recall")) continue;
      expect_near(full.recall.to_vector<double>(), run["recall"], what + " recall");
      expect_near(means_over_recall(full.precision), run["precision_means"], what + " precision");
      expect_near(means_over_recall(full.scores), run["score_means"], what + " scores");
    }
  }
  EXPECT_GE(runs, 73);
}

TEST(CocoEval, DoesNotDependOnThreads) {
  const auto& c = golden()["cases"][0];
  const io::AnnotationSet truth = read(c["truth"]), predictions = read(c["predictions"]);
  const auto many = evaluate_coco(truth, predictions, IouType::kMask).metrics;
  set_thread_count(1);
  const auto one = evaluate_coco(truth, predictions, IouType::kMask).metrics;
  set_thread_count(0);
  EXPECT_EQ(many, one);
}

ordered_json small_truth() {
  return ordered_json::parse(R"({"images": [{"id": 1, "height": 10, "width": 10, "file_name": "a.jpg"}],
    "categories": [{"id": 3, "name": "c"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0,
                     "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]}]})");
}

ordered_json small_predictions() {
  return ordered_json::parse(R"([{"image_id": 1, "category_id": 3, "score": 0.5, "bbox": [0, 0, 5, 5],
    "segmentation": {"size": [10, 10], "counts": [0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 55]}}])");
}

double metric(const CocoEvalResult& result, const std::string& name) {
  for (const auto& [key, value] : result.metrics)
    if (key == name) return value;
  ADD_FAILURE() << "no metric " << name;
  return -2;
}

// Sizes end at 32 x 32 and 96 x 96 pixels; an area of the border itself is in both ranges. -1: no truth of this size.
TEST(CocoEval, SizesAreThoseOfTheProtocol) {
  struct Case {
    double area, small, medium, large;
  };
  for (const Case& c : {Case{1023, 1, -1, -1},
                        {1024, 1, 1, -1},
                        {1025, -1, 1, -1},
                        {9215, -1, 1, -1},
                        {9216, -1, 1, 1},
                        {9217, -1, -1, 1}}) {
    auto truth = small_truth();
    truth["annotations"][0]["area"] = c.area;
    const CocoEvalResult result = evaluate_coco(read(truth), read(small_predictions()), IouType::kMask);
    EXPECT_NEAR(metric(result, "APs"), c.small, kTolerance) << c.area;
    EXPECT_NEAR(metric(result, "APm"), c.medium, kTolerance) << c.area;
    EXPECT_NEAR(metric(result, "APl"), c.large, kTolerance) << c.area;
  }
}

TEST(CocoEval, CountsATruthWhoseIdIsZero) {
  // The protocol's own code takes a match with id 0 for no match; ids are not compared here.
  auto truth = small_truth();
  truth["annotations"][0]["id"] = 0;
  EXPECT_NEAR(evaluate_coco(read(truth), read(small_predictions()), IouType::kMask).metrics.front().second, 1,
              kTolerance);
}

TEST(CocoEval, TakesTheBoxOfTheMaskWhereNoneIsGiven) {
  auto predictions = small_predictions();
  predictions[0].erase("bbox");
  EXPECT_NEAR(evaluate_coco(read(small_truth()), read(predictions), IouType::kBox).metrics.front().second, 1,
              kTolerance);
}

TEST(CocoEval, CountsDetectionsOfUnknownCategories) {
  auto predictions = small_predictions();
  predictions[0]["category_id"] = 4;
  const io::AnnotationSet truth = read(small_truth()), set = read(predictions);
  const CocoEvalResult aware = evaluate_coco(truth, set, IouType::kBox);
  EXPECT_EQ(aware.unknown_category, 1);
  EXPECT_EQ(aware.metrics.front().second, 0);
  CocoEvalOptions options;
  options.class_agnostic = true;
  const CocoEvalResult agnostic = evaluate_coco(truth, set, IouType::kBox, options);
  EXPECT_EQ(agnostic.unknown_category, 0);
  EXPECT_NEAR(agnostic.metrics.front().second, 1, kTolerance);
}

std::string error_of(const ordered_json& truth, const ordered_json& predictions, IouType type) {
  try {
    evaluate_coco(read(truth), read(predictions), type);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "no error";
}

TEST(CocoEval, ErrorsNameRecordAndField) {
  const std::string without_mask =
      ": expected a segmentation, got none: where masks are compared, every annotation needs one; draw it, take the "
      "annotation out of the file, or compare boxes alone";
  auto truth = small_truth();
  auto predictions = small_predictions();
  EXPECT_EQ(error_of(truth, predictions, IouType::kMask), "no error");

  predictions[0]["image_id"] = 2;
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox),
            "pred.json: [0].image_id: 2 is no image of gt.json; if the two files number their images differently, "
            "match them by file name");
  predictions = small_predictions();
  predictions[0].erase("score");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "pred.json: [0].score: missing");
  predictions = small_predictions();
  predictions[0].erase("category_id");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "pred.json: [0].category_id: missing");
  predictions = small_predictions();
  predictions[0].erase("segmentation");
  EXPECT_EQ(error_of(truth, predictions, IouType::kMask), "pred.json: [0]" + without_mask);
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "no error");
  predictions[0].erase("bbox");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox),
            "pred.json: [0]: expected a bbox or a segmentation, got neither");
  predictions = small_predictions();
  predictions[0]["segmentation"]["size"] = {20, 5};
  EXPECT_EQ(error_of(truth, predictions, IouType::kMask),
            "pred.json: [0].segmentation: expected the size of image 1, 10 x 10 (height x width), got 20 x 5");
  predictions = small_predictions();
  truth["annotations"][0].erase("area");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "no error");  // the reader computes it
  truth["annotations"][0].erase("segmentation");
  truth["annotations"][0].erase("bbox");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "gt.json: annotations[0] (id 1).area: missing");
  truth = small_truth();
  truth["annotations"][0].erase("bbox");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "no error");
  truth["annotations"][0].erase("segmentation");
  EXPECT_EQ(error_of(truth, predictions, IouType::kBox), "gt.json: annotations[0] (id 1).bbox: missing");
  truth = small_truth();
  truth["annotations"][0]["segmentation"] = {{1, 2, 3, 4}};
  EXPECT_EQ(error_of(truth, predictions, IouType::kMask), "gt.json: annotations[0] (id 1)" + without_mask);
  truth["annotations"][0]["segmentation"] = nlohmann::json::array();
  EXPECT_EQ(error_of(truth, predictions, IouType::kMask), "gt.json: annotations[0] (id 1)" + without_mask);
  truth = small_truth();
  truth["images"][0].erase("height");
  EXPECT_THAT(
      error_of(truth, predictions, IouType::kMask),
      testing::HasSubstr(
          "image 1 has no height and width, which masks need; they can be read from the pictures (image-root)"));
  EXPECT_THAT(error_of(predictions, predictions, IouType::kBox), testing::HasSubstr("got a list of results"));

  CocoEvalOptions options;
  options.max_dets = {10, 1};
  EXPECT_THROW(evaluate_coco(read(small_truth()), read(predictions), IouType::kBox, options), Error);
}

}  // namespace
}  // namespace usol::eval
