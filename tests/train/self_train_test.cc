// The rules of the next round's truth at their borders. (tests/cli/merge_test.cc holds them to the public script.)
#include "usol/train/self_train.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "usol/io/rle.h"

namespace usol::train {
namespace {

// A picture of 1 x 16 pixels with masks that are runs of it.
io::AnnotationSet picture() {
  io::AnnotationSet set;
  set.name = "set";
  set.images.push_back({.id = 7, .height = 1, .width = 16, .file_name = "p.png"});
  set.categories.push_back({.id = 1, .name = "fg", .supercategory = "fg"});
  return set;
}

void add_run(io::AnnotationSet& set, std::int64_t from, std::int64_t to, double score) {
  Tensor mask = Tensor::zeros({1, 16}, DType::kU8);
  mask.slice(1, from, to).fill(1);
  io::CocoAnnotation annotation;
  annotation.id = static_cast<std::int64_t>(set.annotations.size()) + 1;
  annotation.image_id = 7;
  annotation.category_id = 1;
  annotation.score = score;
  annotation.has_score = true;
  annotation.segmentation = set.add(io::rle_encode(mask));
  set.annotations.push_back(annotation);
}

TEST(NextRound, DefaultsAreThoseOfTheFirstRound) {
  const RoundOptions options;
  EXPECT_EQ(options.score, 0.7);
  EXPECT_EQ(options.iou, 0.5);
  EXPECT_EQ(options.preset, Preset::kPaper);
}

TEST(NextRound, AScoreOfTheBoundIsKept) {
  const io::AnnotationSet previous = picture();
  io::AnnotationSet found = picture();
  add_run(found, 0, 4, 0.75);
  add_run(found, 8, 12, 0.5);
  const RoundResult result = next_round(previous, found, {.score = 0.75});
  EXPECT_EQ(result.predicted, 1);
  EXPECT_EQ(result.below_score, 1);
}

TEST(NextRound, AMaskThatIsHalfOfAPredictionHasBeenFoundAgain) {
  io::AnnotationSet previous = picture(), found = picture();
  add_run(previous, 0, 4, 1);   // IoU 4 / 8: found again
  add_run(previous, 9, 12, 1);  // IoU 3 / 7: stays
  add_run(found, 0, 8, 0.9);
  add_run(found, 9, 16, 0.9);
  const RoundResult result = next_round(previous, found, {});
  ASSERT_EQ(result.objects.size(), 3u);
  EXPECT_EQ(result.found_again, 1);
  // A picture's predictions, then what is left of its masks.
  EXPECT_EQ(result.objects[0].annotation, &found.annotations[0]);
  EXPECT_EQ(result.objects[1].annotation, &found.annotations[1]);
  EXPECT_EQ(result.objects[2].annotation, &previous.annotations[1]);
}

void add_box(io::AnnotationSet& set, const io::Box& box, double score) {
  add_run(set, 0, 1, score);
  io::CocoAnnotation& annotation = set.annotations.back();
  annotation.segmentation = {};
  annotation.box = box;
  annotation.has_box = true;
}

// One object without a mask, and the picture's objects are compared by their boxes.
TEST(NextRound, BoxesWhereMasksAreMissing) {
  io::AnnotationSet previous = picture(), found = picture();
  add_run(previous, 0, 4, 1);
  previous.annotations[0].box = {0, 0, 4, 1};
  add_box(previous, {8, 0, 3, 1}, 1);
  add_box(previous, {0, 0, 0, 1}, 1);  // empty
  add_box(found, {0, 0, 8, 1}, 0.9);   // IoU 4 / 8: found again
  const RoundResult result = next_round(previous, found, {});
  ASSERT_EQ(result.objects.size(), 2u);
  EXPECT_EQ(result.found_again, 1);
  EXPECT_EQ(result.objects[1].annotation, &previous.annotations[1]);
  const std::string record = round_record(result.objects[0], 5, Preset::kPaper);
  EXPECT_EQ(record.find("segmentation"), std::string::npos) << record;
  EXPECT_NE(record.find("\"area\": 8"), std::string::npos) << record;
}

TEST(NextRound, APictureOfOneSideAlone) {
  io::AnnotationSet previous = picture(), found = picture();
  add_run(previous, 0, 4, 1);
  EXPECT_EQ(next_round(previous, found, {}).previous, 1);
  add_run(found, 0, 4, 0.1);  // not kept, so all masks stay
  EXPECT_EQ(next_round(previous, found, {}).previous, 1);
  found.annotations[0].score = 0.9;
  const RoundResult result = next_round(picture(), found, {});
  EXPECT_EQ(result.predicted, 1);
  EXPECT_EQ(result.previous, 0);
}

}  // namespace
}  // namespace usol::train
