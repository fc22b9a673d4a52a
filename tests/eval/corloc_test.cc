// CorLoc: which box counts, which truths count, and errors.
#include "usol/eval/corloc.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

io::CocoAnnotation object(std::int64_t image, const io::Box& box, bool crowd = false) {
  io::CocoAnnotation annotation;
  annotation.image_id = image;
  annotation.box = box;
  annotation.has_box = true;
  annotation.is_crowd = crowd;
  return annotation;
}

io::CocoAnnotation detection(std::int64_t image, const io::Box& box, double score) {
  io::CocoAnnotation annotation = object(image, box);
  annotation.score = score;
  annotation.has_score = true;
  return annotation;
}

io::AnnotationSet truth() {
  io::AnnotationSet set;
  set.name = "gt.json";
  for (const std::int64_t id : {10, 20, 30, 40, 50}) set.images.push_back({id, 100, 100, ""});
  set.annotations = {object(10, {0, 0, 10, 10}), object(10, {50, 50, 10, 10}), object(20, {0, 0, 10, 10}),
                     object(30, {0, 0, 10, 10}), object(40, {0, 0, 10, 10}, true)};
  return set;
}

TEST(CorLoc, CountsImagesWhoseBestBoxFitsAnyTruth) {
  io::AnnotationSet predictions;
  predictions.is_results = true;
  predictions.annotations = {detection(10, {0, 0, 3, 3}, 0.1),
                             detection(10, {50, 50, 10, 5}, 0.9),  // IoU is exactly 0.5
                             detection(10, {0, 0, 1, 1}, 0.9),     // a tie: the first stays
                             detection(20, {0, 0, 10, 4.9}, 0.9), detection(40, {0, 0, 10, 10}, 0.9)};
  const CorLocResult result = evaluate_corloc(truth(), predictions);
  EXPECT_EQ(result.images, 3);  // 40 has only a crowd, 50 nothing
  EXPECT_EQ(result.right, 1);
  EXPECT_EQ(result.without_prediction, 1);
  EXPECT_EQ(result.without_truth, 2);
  EXPECT_DOUBLE_EQ(result.corloc, 1.0 / 3);
}

TEST(CorLoc, TakesTheFirstBoxWithoutScoresAndTheBoxOfAMask) {
  io::AnnotationSet predictions;
  io::CocoAnnotation mask;
  mask.image_id = 20;
  mask.segmentation = predictions.add(io::Rle{10, 10, {0, 100}});
  predictions.annotations = {mask, object(20, {50, 50, 1, 1})};
  EXPECT_EQ(evaluate_corloc(truth(), predictions).right, 1);
}

// tests/golden/make_corloc.py has tried all boxes on the same truths.
TEST(CorLoc, FindsTheBestConstantBoxOfAll) {
  std::ifstream in(test::golden_path("corloc.json"));
  const nlohmann::json golden = nlohmann::json::parse(in);
  io::AnnotationSet set;
  for (const nlohmann::json& image : golden["images"]) {
    const auto id = static_cast<std::int64_t>(set.images.size());
    set.images.push_back({id, image["size"][1], image["size"][0], ""});
    for (const std::vector<double> c : image["corners"])
      set.annotations.push_back(object(id, {c[0], c[1], c[2] - c[0], c[3] - c[1]}));
  }
  set.annotations.push_back(object(0, {0, 0, 1, 1}, true));  // a crowd does not count
  const CorLocResult result = evaluate_corloc(set, {});
  ASSERT_TRUE(result.constant_box && result.whole_frame);
  EXPECT_EQ(result.constant_box->right, golden["best"]["right"]);
  EXPECT_EQ(result.whole_frame->right, golden["whole_frame"]);
  const std::vector<double> edges = golden["best"]["left_right_top_bottom"];
  const io::Box& box = result.constant_box->box;
  const double found[] = {box[0], box[0] + box[2], box[1], box[1] + box[3]};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(found[i], edges[i] / 20, 1e-12) << i;
  EXPECT_EQ(result.whole_frame->box, (io::Box{0, 0, 1, 1}));
  EXPECT_DOUBLE_EQ(corloc_of(*result.constant_box, result), golden["best"]["right"].get<double>() / 24);
}

TEST(CorLoc, ConstantBoxesNeedSizes) {
  io::AnnotationSet set = truth();
  set.images[3].width = 0;  // of an image without truth: it does not matter
  EXPECT_TRUE(evaluate_corloc(set, {}).constant_box);
  set.images[1].width = 0;
  const CorLocResult result = evaluate_corloc(set, {});
  EXPECT_EQ(result.without_size, 1);
  EXPECT_FALSE(result.constant_box || result.whole_frame);
  EXPECT_EQ(result.images, 3);
}

TEST(CorLoc, AnIouOfJustAHalfIsRight) {
  io::AnnotationSet set;
  set.images.push_back({1, 100, 100, ""});
  set.annotations = {object(1, {0, 0, 100, 50})};
  EXPECT_EQ(evaluate_corloc(set, {}).whole_frame->right, 1);
  set.annotations = {object(1, {0, 0, 100, 49})};
  EXPECT_EQ(evaluate_corloc(set, {}).whole_frame->right, 0);
}

TEST(CorLoc, ErrorsNameRecordAndField) {
  const auto error_of = [](const io::AnnotationSet& set, const io::AnnotationSet& predictions) -> std::string {
    try {
      evaluate_corloc(set, predictions);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  io::AnnotationSet predictions;
  predictions.name = "pred.json";
  predictions.is_results = true;
  predictions.annotations = {object(11, {0, 0, 1, 1})};
  EXPECT_EQ(error_of(truth(), predictions),
            "pred.json: [0].image_id: 11 is no image of gt.json; if the two files number their images differently, "
            "match them by file name");
  predictions.annotations[0].image_id = 10;
  predictions.annotations[0].has_box = false;
  EXPECT_EQ(error_of(truth(), predictions), "pred.json: [0]: expected a bbox or an RLE, got neither");
  io::AnnotationSet set = truth();
  set.annotations[1].has_box = false;
  EXPECT_EQ(error_of(set, {}), "gt.json: annotations[1].bbox: missing");
}

}  // namespace
}  // namespace usol::eval
