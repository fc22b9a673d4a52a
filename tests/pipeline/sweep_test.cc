// sweep() as a C++ program calls it: points of MaskCut, points that are detectors, and what it refuses.
// tests/cli/sweep_test.cc and sweep_train_test.cc have the verb.
#include "usol/pipeline/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/scenes.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_training.h"
#include "usol/models/fpn.h"
#include "usol/models/rcnn/settings.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

using testing::HasSubstr;

class PipelineSweepTest : public testing::Test {
 protected:
  PipelineSweepTest() {
    set_thread_count(1);
    const test::SceneOptions options{.seed = 5, .short_px = 48, .long_px = 64, .most_objects = 3, .most_px = 40};
    test::write_scenes(folder_ / "scenes", options, 3);
  }
  ~PipelineSweepTest() override { set_thread_count(0); }

  SweepConfig config(const std::vector<std::string>& parameters) const {
    SweepConfig config;
    config.parameters = parameters;
    config.out = (folder_ / "s").string();
    config.annotations = (folder_ / "scenes/truth.json").string();
    config.maskcut.inputs.inputs = {(folder_ / "scenes").string()};
    config.maskcut.features.backbone = "colour";
    config.maskcut.features.size = 48;
    config.maskcut.features.patch = 6;
    config.maskcut.crf = false;
    return config;
  }
  // With detectors that learn for two steps.
  SweepConfig training(const std::vector<std::string>& parameters) const {
    SweepConfig sweep = config(parameters);
    sweep.detector.eval_annotations = sweep.annotations;
    sweep.detector.eval_image_root = (folder_ / "scenes").string();
    sweep.detector.predict.short_px = 48;
    sweep.detector.predict.most = 5;
    TrainConfig& base = sweep.detector.base;
    base = test::tiny_training();
    base.precise_bn = 0;
    base.base_schedule.iterations = 2;
    base.base_schedule.warmup = 1;
    base.base_schedule.steps = {1};
    sweep.detector.round = base;
    return sweep;
  }
  Json json(const fs::path& name) const { return Json::parse(test::read_text(folder_ / name)); }
  static ErrorKind error_of(const SweepConfig& config, const std::string& message, Existing existing = {}) {
    usol::Run run;
    run.existing = existing;
    try {
      sweep(config, run);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
      return error.kind();
    }
    ADD_FAILURE() << "no error: " << message;
    return {};
  }

  test::TempDir folder_;
};

TEST_F(PipelineSweepTest, MasksOfEachPointAreMaskCutsAndScored) {
  const SweepConfig wanted = config({"tau=0.15,0.3", "masks=1,3"});
  const SweepResult result = sweep(wanted, {});
  ASSERT_EQ(result.status, kSuccess);
  ASSERT_EQ(result.points.size(), 4u);
  for (const SweepScore& point : result.points) {
    MaskcutJob alone = wanted.maskcut;
    alone.tau = std::stod(point.point.settings[0].second);
    alone.masks = std::stoi(point.point.settings[1].second);
    usol::Run run;
    run.existing = Existing::kReplace;
    ASSERT_EQ(alone.run(run, {.coco = (folder_ / "one.json").string()}), kSuccess);
    const Json one = json("one.json"), mine = json(fs::path("s") / point.point.name / "masks.json");
    EXPECT_EQ(mine["annotations"], one["annotations"]) << point.point.name;
    EXPECT_EQ(mine["info"]["settings"]["tau"], *alone.tau);
    EXPECT_EQ(mine["info"]["preset"], "paper");
    EXPECT_EQ(point.objects, one["annotations"].size());
    EXPECT_EQ(point.images, 3u);
    for (const char* type : {"box", "mask"})
      for (const auto& [name, value] : point.metrics.at(type))
        EXPECT_EQ(json(fs::path("s") / point.point.name / "metrics.json")[type][name], value);
  }
  EXPECT_LT(result.points[0].objects, result.points[1].objects);

  EXPECT_EQ(error_of(wanted, "sweep.json exists"), ErrorKind::kExists);
  SweepConfig other = wanted;
  other.maskcut.max_ncut = 1;
  EXPECT_EQ(error_of(other, "settings.max-ncut", Existing::kContinue), ErrorKind::kOtherSettings);
  const std::string before = test::read_text(folder_ / "s/sweep.json");
  fs::remove_all(folder_ / "s/tau=0.3,masks=3");
  usol::Run again;
  again.existing = Existing::kContinue;
  EXPECT_EQ(sweep(wanted, again).status, kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "s/sweep.json"), before);
}

TEST_F(PipelineSweepTest, APresetLeavesWhatWasGiven) {
  SweepConfig wanted = config({"preset=paper,release"});
  ASSERT_EQ(sweep(wanted, {}).status, kSuccess);
  EXPECT_EQ(json("s/preset=paper/masks.json")["info"]["settings"]["exif"], true);
  EXPECT_EQ(json("s/preset=release/masks.json")["info"]["settings"]["exif"], false);
  wanted.out = (folder_ / "other").string();  // with another preset to begin with
  wanted.maskcut.preset = "release";
  wanted.maskcut.pictures.exif = false;
  ASSERT_EQ(sweep(wanted, {}).status, kSuccess);
  EXPECT_EQ(json("other/preset=paper/masks.json")["info"]["settings"]["exif"], true);
  wanted = config({"preset=paper,release"});
  wanted.out = (folder_ / "given").string();
  wanted.maskcut_given = {"exif"};
  ASSERT_EQ(sweep(wanted, {}).status, kSuccess);
  EXPECT_EQ(json("given/preset=release/masks.json")["info"]["settings"]["exif"], true);
}

TEST_F(PipelineSweepTest, DetectorsShareMasksAndRoundsTheirTrainings) {
  const SweepResult result = sweep(training({"droploss-iou=0,0.2", "rounds=0,1"}), {});
  ASSERT_EQ(result.status, kSuccess);
  ASSERT_EQ(result.points.size(), 4u);
  EXPECT_TRUE(fs::exists(folder_ / "s/masks/masks.json"));
  for (const SweepScore& point : result.points) {
    const bool round = point.point.settings[1].second == "1";
    const fs::path made = fs::path("s/droploss-iou=" + point.point.settings[0].second) / (round ? "round1" : "base");
    for (const char* type : {"box", "mask"})
      for (const auto& [name, value] : point.metrics.at(type))
        EXPECT_EQ(json(made / "eval/metrics.json")[type][name], value);
    EXPECT_EQ(point.objects, json(made / "eval-predict/predictions.json")["annotations"].size());
  }
  const Json stages = json("s/droploss-iou=0.2/manifest.json")["stages"];
  EXPECT_EQ(stages[0]["name"], "base/train");  // on the masks of all
  EXPECT_EQ(stages[0]["settings"]["droploss-iou"], 0.2);
  EXPECT_EQ(stages[5]["name"], "round1/train");
  EXPECT_EQ(stages[5]["settings"]["droploss-iou"], 0.01);  // a point's settings are the first training's
  // The settings of a point's first training, as a file to read again.
  auto kept = TrainConfig::from_toml((folder_ / "s/droploss-iou=0.2/train.toml").string());
  EXPECT_EQ(kept.detector.as<RcnnSettings>().droploss_iou, 0.2);
  EXPECT_EQ(kept.detector.as<RcnnSettings>().backbone.as<ResNetFpnSettings>().blocks,
            (std::vector<std::int64_t>{1, 1, 1, 1}));
}

TEST_F(PipelineSweepTest, SaysWhatIsNoParameterOrDoesNotFit) {
  EXPECT_EQ(error_of(config({"colour=1"}), "parameter colour: expected"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(config({"tau=lots"}), "tau: expected a number"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(config({"tau=0.1,5"}), "tau: expected"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(config({}), "nothing to vary"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(config({"lr=0.1"}), "eval-annotations and eval-image-root are missing"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(training({"rounds=1.5"}), "rounds: expected a whole number"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(training({"preset=best"}), "preset: expected one of paper, release"), ErrorKind::kUsage);
  EXPECT_EQ(error_of(training({"precision=f16"}), "precision f16: CPUs compute in f32 or bf16"),
            ErrorKind::kUnsupported);
  SweepConfig given = training({"lr=0.1", "tau=0.1"});
  given.masks = given.annotations;
  EXPECT_EQ(error_of(given, "where masks are given there is no MaskCut"), ErrorKind::kUsage);
  EXPECT_FALSE(fs::exists(folder_ / "s"));
}

}  // namespace
}  // namespace usol
