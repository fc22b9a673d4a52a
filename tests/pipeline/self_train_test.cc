// self_train() as a C++ program calls it, on a few scenes: what the loop makes, that it goes on where it was stopped,
// and what of a former run it refuses. tests/cli/self_train_test.cc has the verb, kills and several processes.
#include "usol/pipeline/self_train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/scenes.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_training.h"
#include "usol/io/coco.h"
#include "usol/models/rcnn/settings.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PipelineSelfTrainTest : public testing::Test {
 protected:
  PipelineSelfTrainTest() {
    set_thread_count(1);
    const test::SceneOptions options{.seed = 5, .short_px = 48, .long_px = 64, .most_objects = 3, .most_px = 40};
    test::write_scenes(folder_ / "scenes", options, 4);
  }
  ~PipelineSelfTrainTest() override { set_thread_count(0); }

  SelfTrainConfig config(const std::string& out, std::int64_t rounds = 1) const {
    SelfTrainConfig config;
    config.image_root = (folder_ / "scenes").string();
    config.out = (folder_ / out).string();
    config.rounds = rounds;
    config.thresholds = {0.3};
    config.detections = 7;
    config.maskcut.features.backbone = "colour";
    config.maskcut.features.size = 48;
    config.maskcut.features.patch = 6;
    TrainConfig& base = config.base;
    base = test::tiny_training();
    base.group_size = 1;
    base.precise_bn = 1;
    base.base_schedule.iterations = 3;
    base.base_schedule.warmup = 1;
    base.base_schedule.steps = {2};
    base.output.checkpoint_every = 2;
    config.round = base;
    config.round.detector.as<RcnnSettings>().droploss = false;
    config.predict.short_px = 48;
    return config;
  }
  SelfTrainConfig evaluated(const std::string& out, std::int64_t rounds = 1) const {
    SelfTrainConfig scored = config(out, rounds);
    scored.eval_annotations = (folder_ / "scenes/truth.json").string();
    scored.eval_image_root = scored.image_root;
    return scored;
  }
  std::string text(const fs::path& name) const { return test::read_text(folder_ / name); }
  Json manifest(const std::string& out) const { return Json::parse(text(fs::path(out) / "manifest.json")); }
  // All files but TensorBoard's, which have times; trainings' figures without theirs.
  std::map<std::string, std::string> files(const std::string& out) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / out)) {
      const fs::path name = fs::relative(entry.path(), folder_ / out);
      if (!entry.is_regular_file() || name.extension() == ".usol") continue;
      const bool figures = name.string().ends_with("train/metrics.json");
      all[name.string()] = figures ? Json(test::read_metrics(entry.path())).dump() : test::read_text(entry.path());
    }
    return all;
  }
  // The error that it ends with.
  static std::optional<Error> error_of(const SelfTrainConfig& config, Existing existing = Existing::kContinue) {
    usol::Run run;
    run.existing = existing;
    try {
      self_train(config, run);
    } catch (const Error& error) {
      return error;
    }
    return std::nullopt;
  }

  test::TempDir folder_;
};

TEST_F(PipelineSelfTrainTest, PicturesBecomeMasksDetectorsAndFigures) {
  const SelfTrainResult result = self_train(evaluated("out"), {});
  EXPECT_EQ(result.status, kSuccess);
  std::vector<std::string> names;
  for (const SelfTrainStage& stage : result.stages) {
    names.push_back(stage.name);
    EXPECT_TRUE(fs::exists(stage.output)) << stage.name;
  }
  EXPECT_THAT(names, ElementsAre("masks", "base/train", "base/eval-predict", "base/eval", "round1/predict",
                                 "round1/merge", "round1/train", "round1/eval-predict", "round1/eval"));
  ASSERT_EQ(result.detectors.size(), 2u);
  const SelfTrainDetector &base = result.detectors[0], &round = result.detectors[1];
  EXPECT_EQ(base.masks, folder_ / "out/masks/masks.json");
  EXPECT_EQ(round.masks, folder_ / "out/round1/merge/masks.json");
  EXPECT_FALSE(io::read_coco(round.masks).annotations.empty());
  EXPECT_EQ(round.model, folder_ / "out/round1/train/model_final.safetensors");
  const Json metrics = Json::parse(test::read_text(round.metrics));
  for (const char* type : {"box", "mask"}) {
    ASSERT_FALSE(round.scores.at(type).empty());
    for (const auto& [name, value] : round.scores.at(type)) EXPECT_EQ(metrics[type][name], value) << type << name;
  }

  // The manifest has the settings of each stage as they were used, and so has each output.
  const Json stages = manifest("out")["stages"];
  EXPECT_EQ(stages[1]["settings"]["droploss"], true);
  EXPECT_EQ(stages[6]["settings"]["droploss"], false);
  EXPECT_EQ(stages[4]["settings"]["most"], 7);
  EXPECT_EQ(stages[4]["settings"]["score"], 0.15);
  EXPECT_EQ(stages[5]["settings"]["score"], 0.3);
  EXPECT_EQ(stages[8]["settings"]["class-agnostic"], true);
  EXPECT_EQ(metrics["info"]["settings"], stages[8]["settings"]);
  EXPECT_EQ(manifest("out")["info"]["settings"]["detections"], 7);
  EXPECT_EQ(manifest("out")["info"]["description"], "usol library");
}

TEST_F(PipelineSelfTrainTest, ARunThatIsStoppedGoesOnWhereItWas) {
  const SelfTrainResult whole = self_train(evaluated("whole"), {});
  ASSERT_EQ(whole.status, kSuccess);
  // Asked to stop ever later, until it is through.
  int stops = 0;
  for (int longest = 3;; longest += 4, ++stops) {
    ASSERT_LT(stops, 100);
    usol::Run run;
    run.existing = Existing::kContinue;
    run.stop = [left = longest]() mutable { return left-- > 0 ? 0 : 15; };
    try {
      const int status = self_train(evaluated("parts"), run).status;
      if (status == kSuccess) break;
      ASSERT_EQ(status, 128 + 15);
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kInterrupted) << error.what();
    }
  }
  EXPECT_GT(stops, 3);
  const auto expected = files("whole"), got = files("parts");
  for (const auto& [name, content] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_TRUE(got.at(name) == content) << name;
  }
  EXPECT_EQ(got.size(), expected.size());
  // Nothing is left to do: the same results, nothing written.
  const auto trained = fs::last_write_time(folder_ / "parts/round1/train/model_final.safetensors");
  usol::Run again;
  again.existing = Existing::kContinue;
  const SelfTrainResult once_more = self_train(evaluated("parts"), again);
  EXPECT_EQ(once_more.detectors.back().scores, whole.detectors.back().scores);
  EXPECT_EQ(fs::last_write_time(folder_ / "parts/round1/train/model_final.safetensors"), trained);
}

TEST_F(PipelineSelfTrainTest, WhatIsThereIsRefusedWithItsReason) {
  const SelfTrainConfig first = config("out", 0);
  ASSERT_EQ(self_train(first, {}).status, kSuccess);
  const std::string manifest_file = (folder_ / "out/manifest.json").string();
  EXPECT_EQ(error_of(first, Existing::kRefuse)->kind(), ErrorKind::kExists);

  SelfTrainConfig other = first;
  other.base.base_schedule.learning_rate = 0.3;
  const auto changed = error_of(other);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->kind(), ErrorKind::kOtherSettings);
  EXPECT_THAT(changed->what(), HasSubstr("stage base/train was made with other settings: settings.lr"));

  // Manifests of other versions: of a number to come, and with command lines in the place of settings.
  const Json good = manifest("out");
  Json later = good, words = good;
  later["usol_self_train"] = 2;
  words["stages"][0]["settings"] = {"scenes", "--preset", "paper"};
  for (const auto& [content, why] : {std::pair{later, "expected a manifest of version 1, got 2"},
                                     {words, "stage 1: expected its settings as an object"}}) {
    test::write_text(manifest_file, content.dump());
    const auto refused = error_of(first);
    ASSERT_TRUE(refused) << why;
    EXPECT_EQ(refused->kind(), ErrorKind::kOtherVersion);
    EXPECT_THAT(refused->what(), HasSubstr(manifest_file + " was written by another version of usol"));
    EXPECT_THAT(refused->what(), HasSubstr(why));
    EXPECT_EQ(text("out/manifest.json"), content.dump());
  }
  test::write_text(manifest_file, good.dump());
  EXPECT_FALSE(error_of(config("out", 1)));  // a round more
  EXPECT_EQ(manifest("out")["stages"].size(), 5u);
}

TEST_F(PipelineSelfTrainTest, ADryRunPlansAndWritesNothing) {
  usol::Run run;
  run.dry_run = true;
  SelfTrainConfig planned = evaluated("out", 3);
  planned.thresholds = {0.7, 0.5};
  planned.pictures.scale_16bit = true;
  const SelfTrainResult result = self_train(planned, run);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  std::map<std::string, std::map<std::string, std::string>> decided;
  for (const SelfTrainStage& stage : result.stages)
    for (const auto& [key, value] : stage.decided) decided[stage.name][key] = value;
  EXPECT_EQ(decided["round1/merge"].count("score"), 0u) << "0.7 is what it would be by itself";
  EXPECT_EQ(decided["round2/merge"]["score"], "0.5");
  EXPECT_EQ(decided["round3/merge"]["score"], "0.5");
  EXPECT_EQ(decided["round3/predict"]["weights"], (folder_ / "out/round2/train/model_final.safetensors").string());
  for (const char* name : {"masks", "base/train", "round3/predict", "round3/eval-predict"})
    EXPECT_EQ(decided[name]["scale-16bit"], "true") << name;
  EXPECT_EQ(result.detectors.size(), 4u);
  EXPECT_TRUE(result.detectors[3].scores.empty());
}

TEST_F(PipelineSelfTrainTest, SaysWhatDoesNotFit) {
  const auto refused = [&](const std::string& what, const std::function<void(SelfTrainConfig&)>& change) {
    SelfTrainConfig odd = config("out");
    change(odd);
    const auto error = error_of(odd);
    ASSERT_TRUE(error) << what;
    EXPECT_EQ(error->kind(), ErrorKind::kUsage);
    EXPECT_THAT(error->what(), HasSubstr(what));
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  };
  refused("out is missing", [](auto& c) { c.out.clear(); });
  refused("expected the folder of the pictures", [](auto& c) { c.image_root = "nowhere"; });
  refused("go together", [](auto& c) { c.eval_annotations = c.image_root + "/truth.json"; });
  refused("expected at least one score", [](auto& c) { c.thresholds.clear(); });
  refused("weights nowhere: no such file", [](auto& c) { c.weights = "nowhere"; });
}

TEST(SelfTrainFiles, StagesAreReadFromTheSettingsFilesOfTheVerbs) {
  auto config = SelfTrainConfig::from_toml(test::source_path("configs/self_train.toml"));
  EXPECT_EQ(config.rounds, 3);
  EXPECT_EQ(config.base.detector.as<RcnnSettings>().rpn_nms, 0.65);
  EXPECT_TRUE(config.base.detector.as<RcnnSettings>().droploss);
  EXPECT_EQ(config.round.detector.as<RcnnSettings>().rpn_nms, 0.7);
  EXPECT_FALSE(config.round.detector.as<RcnnSettings>().droploss);
  EXPECT_EQ(config.round.base_schedule.learning_rate, 0.01);

  // A preset changes what nobody has given: the first training's rate, not the rounds'.
  EXPECT_EQ(config.base.base_schedule.learning_rate, 0.005);
  config.round.base_schedule.learning_rate = 0.03;  // as if its file had it
  config.use_preset("release");
  EXPECT_EQ(config.base.base_schedule.learning_rate, 0.01);
  EXPECT_EQ(config.round.base_schedule.learning_rate, 0.03);
  EXPECT_EQ(config.round.preset, "release");
  EXPECT_FALSE(config.maskcut.pictures.exif);
  EXPECT_THROW(config.use_preset("best"), Error);
  config.use_preset("paper");
  EXPECT_EQ(config.base.base_schedule.learning_rate, 0.005);
  EXPECT_TRUE(config.maskcut.pictures.exif);

  test::TempDir folder;
  test::write_text(folder / "loop.toml", "[self-train]\ntrain-config = \"gone.toml\"\n");
  EXPECT_THROW(SelfTrainConfig::from_toml((folder / "loop.toml").string()), Error);
}

}  // namespace
}  // namespace usol
