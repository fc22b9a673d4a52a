// What is said of a step's memory: its arithmetic, for which detectors, and when it is a warning. The constants are
// measured (pipeline/step_memory.cc), so no test has their values.
#include "usol/pipeline/step_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/kept_log.h"
#include "tests/support/rectangles.h"
#include "tests/support/temp_dir.h"
#include "usol/models/rcnn/settings.h"

namespace usol {
namespace {

class StepMemoryTest : public testing::Test {
 protected:
  // A picture that is wider than high, and one that is higher than wide, and larger.
  StepMemoryTest() { test::write_rectangles(folder_.path(), {{60, 80, 4, 40, 20, 52}, {100, 50, 4, 40, 20, 44}}); }

  StepWork work(std::int64_t ranks = 1) const {
    ParamStore store = ParamStore::shapes_only();
    const auto model = settings_.make_detector(1)(Scope(store), {}, DType::kF32);
    return step_work(settings_, train::Dataset(folder_ / "truth.json", folder_.path()), *model, store, ranks);
  }
  double bytes() const { return step_memory(work()).value(); }

  test::TempDir folder_;
  TrainConfig settings_;
};

TEST_F(StepMemoryTest, WeightsCountAsOftenAsTheyAreKept) {
  const double usual = bytes(), weights = work().parameters * 4;
  EXPECT_GT(weights, 71e6 * 4);  // of the paper's detector
  EXPECT_LT(weights, 73e6 * 4);
  EXPECT_EQ(work().copies, 3);
  settings_.optimizer_name = "adamw";
  EXPECT_NEAR(bytes() - usual, weights, 1);
  settings_.ema = 0.999;
  EXPECT_NEAR(bytes() - usual, 2 * weights, 1);
}

TEST_F(StepMemoryTest, PicturesAreThoseOfAPassInAProcess) {
  EXPECT_EQ(work().pictures, 16);
  EXPECT_EQ(work(2).pictures, 8);
  settings_.accumulate = 4;
  EXPECT_EQ(work(2).pictures, 2);
  settings_.views = "weak-and-strong";
  EXPECT_EQ(work(2).pictures, 4);
}

TEST_F(StepMemoryTest, PicturesArePaddedToTheLargestOfABatch) {
  settings_.augment.short_sides = {240, 480};
  settings_.augment.long_side = 800;
  // 480 x 640 and 800 x 400. Groups of like shapes come together.
  EXPECT_EQ(work().padded, (Size{800, 640}));
  settings_.batch = 2;
  EXPECT_EQ(work().padded, (Size{800, 416}));  // the larger one, in multiples of 32
  settings_.augment.long_side = 320;
  EXPECT_EQ(work().padded, (Size{256, 320}));
}

TEST_F(StepMemoryTest, ASquareIsThatOfTheBackbone) {
  settings_.detector.as<RcnnSettings>().backbone.name = "vitdet";
  settings_.augment.short_sides = {240};
  settings_.augment.long_side = 1024;
  EXPECT_EQ(work().padded, (Size{1024, 1024}));
}

TEST_F(StepMemoryTest, GrowsByPicturesAndTheirPixels) {
  settings_.batch = 2;
  const double two = bytes();
  settings_.batch = 1;
  const double one = bytes();
  settings_.augment.short_sides = {400};
  const double smaller = bytes();
  EXPECT_GT(two - one, 0.3e9);
  EXPECT_GT(one - smaller, 0.3e9);
  EXPECT_GT(smaller, work().parameters * 4 * 3);
}

// Detectors with the parameters of their usual settings, within a quarter of what was measured at 480 x 640 of one
// picture.
TEST_F(StepMemoryTest, OneStageAndSolov2AreMeasuredToo) {
  settings_.batch = settings_.group_size = 1;
  settings_.augment.short_sides = {480};
  settings_.augment.long_side = 640;
  const auto expect_bytes = [&](const std::string& name, double measured) {
    StepWork one = work();
    EXPECT_EQ(one.detector, name);
    one.padded = {480, 640};
    ASSERT_TRUE(step_memory(one)) << one.parameters;
    EXPECT_NEAR(*step_memory(one), measured, measured / 4);
  };
  expect_bytes("Cascade Mask R-CNN", 2200e6);
  settings_.detector.as<RcnnSettings>().stages = 1;
  expect_bytes("Mask R-CNN", 2212e6);
  settings_.detector.name = "solov2";
  expect_bytes("SOLOv2", 1992e6);
}

TEST_F(StepMemoryTest, NothingIsSaidOfWhatWasNotMeasured) {
  StepWork other = work();
  EXPECT_TRUE(step_memory(other));
  other.parameters *= 1.01;  // more classes
  EXPECT_TRUE(step_memory(other));
  other.parameters *= 1.1;  // a deeper backbone
  EXPECT_FALSE(step_memory(other));
  other = work();
  other.detector = "Cascade Mask R-CNN on C4";
  EXPECT_FALSE(step_memory(other));
  test::LoggedRun logged;
  logged.run.dry_run = true;
  say_step_memory(logged.run, other, 1);
  EXPECT_EQ(logged.log->text(), "");
}

TEST_F(StepMemoryTest, WarnsOfTooMuchAndNotesInARehearsalWhatFits) {
  const double needed = bytes();
  const auto said = [&](bool dry_run, double free_bytes) {
    test::LoggedRun logged;
    logged.run.dry_run = dry_run;
    say_step_memory(logged.run, work(), free_bytes);
    return logged.log->text();
  };
  EXPECT_EQ(said(false, needed), "");
  EXPECT_EQ(said(true, needed).find("a step takes about "), 0u) << said(true, needed);
  for (const bool dry_run : {false, true}) {
    const std::string warned = said(dry_run, 3.1e9);
    EXPECT_EQ(std::count(warned.begin(), warned.end(), '\n'), 1) << warned;
    for (const char* words : {"warning: a step takes about ", "16 pictures of up to ", "3.1 GB are free", "batch",
                              "short-sides", "long-side", "accumulate", "processes"})
      EXPECT_NE(warned.find(words), std::string::npos) << words << ": " << warned;
  }
}

}  // namespace
}  // namespace usol
