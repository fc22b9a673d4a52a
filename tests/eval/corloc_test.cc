// CorLoc: which box counts, which truths count, and errors.
#include "usol/eval/corloc.h"

#include <gtest/gtest.h>

#include <string>

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
