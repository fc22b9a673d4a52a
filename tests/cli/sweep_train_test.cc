// `usol sweep` over settings of training: masks are made once, each point is a detector as `usol self-train` makes it.
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
#include "usol/cli/verb.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class SweepTrainTest : public testing::Test {
 protected:
  SweepTrainTest() {
    const test::SceneOptions options{.seed = 5, .short_px = 48, .long_px = 64, .most_objects = 3, .most_px = 40};
    test::write_scenes(folder_ / "scenes", options, 3);
    const std::string detector =
        "[train]\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\nchannels = 8\nhidden = 16\nshort-sides = [48]\n"
        "batch = 2\nreference-batch = 2\nprecise-bn = 1\nproposals = 30\nwarmup = 2\niterations = 3\nsteps = [2]\n";
    test::write_text(folder_ / "base.toml", detector + "lr = 0.02\n");
    test::write_text(folder_ / "round.toml", detector + "lr = 0.01\ndroploss = false\n");
    test::write_text(folder_ / "sweep.toml",
                     "[sweep]\nbackbone = \"colour\"\nsize = 48\npatch = 6\nthreads = 1\ntrain-config = \"base.toml\"\n"
                     "eval-annotations = \"scenes/truth.json\"\neval-image-root = \"scenes\"\n"
                     "[predict]\nshort-side = 48\nmost = 5\n");
  }
  test::ProcessResult usol(Words words, const Words& more = {}) const {
    words.insert(words.end(), more.begin(), more.end());
    test::ProcessOptions options;
    options.directory = folder_.path().string();
    return test::run_usol(words, options);
  }
  test::ProcessResult sweep(const Words& more) const {
    return usol({"sweep", "scenes", "--config", "sweep.toml", "--out", "s"}, more);
  }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  Json json(const std::string& name) const { return Json::parse(text(name)); }

  test::TempDir folder_;
};

TEST_F(SweepTrainTest, MasksOnceThenADetectorForEachThreshold) {
  const Words what{"--param", "droploss-iou=0,0.1"};
  const auto result = sweep(what);
  ASSERT_EQ(result.status, kSuccess) << result.err;
  const Json points = json("s/sweep.json")["points"];
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[1]["settings"], Json({{"droploss-iou", "0.1"}}));
  EXPECT_TRUE(points[1]["metrics"]["mask"].contains("AP50"));
  EXPECT_EQ(points[1]["metrics"].size(), 2u);  // box and mask, as of masks
  EXPECT_THAT(text("s/sweep.md"), HasSubstr("droploss-iou"));
  EXPECT_TRUE(fs::exists(folder_ / "s/masks/masks.json"));
  const Json stages = json("s/droploss-iou=0.1/manifest.json")["stages"];
  EXPECT_EQ(stages[0]["name"], "base/train");  // no masks of its own
  EXPECT_EQ(stages[0]["settings"]["droploss-iou"], 0.1);
  EXPECT_EQ(stages[0]["settings"]["lr"], 0.02);
  EXPECT_NE(text("s/droploss-iou=0/base/train/model_final.safetensors"),
            text("s/droploss-iou=0.1/base/train/model_final.safetensors"));

  // A point is what self-train makes of its settings.
  test::write_text(folder_ / "one.toml", text("base.toml") + "droploss-iou = 0.1\n");
  const auto one = usol({"self-train", "--config", "sweep.toml", "--train-config", "one.toml", "--rounds", "0",
                         "--threads", "1", "--image-root", "scenes", "--annotations", "s/masks/masks.json", "--out",
                         "one", "--eval-annotations", "scenes/truth.json", "--eval-image-root", "scenes"});
  ASSERT_EQ(one.status, kSuccess) << one.err;
  EXPECT_EQ(text("one/base/train/model_final.safetensors"),
            text("s/droploss-iou=0.1/base/train/model_final.safetensors"));
  for (const char* type : {"box", "mask"})
    EXPECT_EQ(json("one/base/eval/metrics.json")[type], points[1]["metrics"][type]) << type;

  // Interrupted in the second point's prediction: nothing before it is made again.
  const std::string before = text("s/sweep.json");
  const auto trained = fs::last_write_time(folder_ / "s/droploss-iou=0.1/base/train/model_final.safetensors");
  EXPECT_EQ(sweep(what).status, kBadUsage);  // no --resume
  fs::remove(folder_ / "s/sweep.json");
  fs::remove_all(folder_ / "s/droploss-iou=0.1/base/eval-predict");
  Words resume = what;
  resume.push_back("--resume");
  const auto again = sweep(resume);
  ASSERT_EQ(again.status, kSuccess) << again.err;
  EXPECT_EQ(text("s/sweep.json"), before);
  EXPECT_EQ(fs::last_write_time(folder_ / "s/droploss-iou=0.1/base/train/model_final.safetensors"), trained);
  test::write_text(folder_ / "base.toml", text("base.toml") + "clip = 2\n");
  const auto changed = sweep(resume);
  EXPECT_EQ(changed.status, kBadUsage);
  EXPECT_THAT(changed.err, HasSubstr("settings.clip"));

  ASSERT_EQ(usol({"report", "s", "--out", "page.html"}).status, kSuccess);
  EXPECT_THAT(text("page.html"), HasSubstr("mask AP50 over droploss-iou"));
}

TEST_F(SweepTrainTest, RoundsShareTheirTrainingsAndGivenMasksTheirMaskCut) {
  const auto result = usol({"sweep", "--config", "sweep.toml", "--out", "s", "--image-root", "scenes", "--train-masks",
                            "scenes/truth.json", "--round-config", "round.toml", "--param", "rounds=0,1"});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  EXPECT_FALSE(fs::exists(folder_ / "s/masks"));
  const Json points = json("s/sweep.json")["points"];
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0]["metrics"]["box"], json("s/detector/base/eval/metrics.json")["box"]);
  EXPECT_EQ(points[1]["metrics"]["box"], json("s/detector/round1/eval/metrics.json")["box"]);
  const Json stages = json("s/detector/manifest.json")["stages"];
  EXPECT_EQ(stages[5]["name"], "round1/train");
  EXPECT_EQ(stages[5]["settings"]["lr"], 0.01);
}

TEST_F(SweepTrainTest, DetectorsHaveParametersOfTheirOwn) {
  const Words what{"--train-masks", "scenes/truth.json",
                   "--param",       "detector=rcnn,solov2",
                   "--param",       "solov2:channels=32",
                   "--param",       "solov2:instance-channels=32",
                   "--param",       "solov2:instance-convolutions=1,2",
                   "--param",       "solov2:resnet-channels=16",
                   "--param",       "rcnn:droploss=false",
                   "--param",       "short-sides=[40,48]"};
  const auto result = sweep(what);
  ASSERT_EQ(result.status, kSuccess) << result.err;
  const Json points = json("s/sweep.json")["points"];
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0]["settings"], Json({{"detector", "rcnn"}, {"droploss", "false"}, {"short-sides", "40,48"}}));
  EXPECT_EQ(points[2]["settings"]["instance-convolutions"], "2");
  const Json stages = json("s/" + points[2]["name"].get<std::string>() + "/manifest.json")["stages"];
  EXPECT_EQ(stages[0]["settings"]["instance-convolutions"], 2);
  EXPECT_EQ(stages[0]["settings"]["detector"], "solov2");
  EXPECT_EQ(stages[0]["settings"]["short-sides"], Json({40, 48}));
  EXPECT_THAT(text("s/sweep.csv"), HasSubstr("point,detector,droploss,short-sides,channels,"));
}

TEST_F(SweepTrainTest, SaysWhatIsMissing) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{"--param", "rounds=1"}, "round-config is missing"},
      {{"--param", "rounds=1.5", "--round-config", "round.toml"}, "rounds: expected a whole number"},
      {{"--param", "lr=fast"}, "expected a number"},
      {{"--param", "learning-rate=1"}, "parameter learning-rate: expected an option of usol maskcut"},
      {{"--param", "lr=0.1", "--train-config", "gone.toml"}, "gone.toml: no such file"},
      {{"--param", "lr=0.1", "--param", "tau=0.1", "--train-masks", "scenes/truth.json"}, "there is no MaskCut"},
      {{"--param", "detector=rcnn,solov2", "--param", "instance-channels=32", "--train-masks", "scenes/truth.json"},
       "instance-channels means nothing to detector rcnn"},
      {{"--param", "solov2:instance-channels=32"}, "solov2 is a value of no parameter before it"},
      {{"--param", "tau=0.1", "--train-masks", "scenes/truth.json"}, "train-masks are for"},
  };
  for (const auto& [words, message] : cases) {
    const auto result = sweep(words);
    EXPECT_EQ(result.status, kBadUsage) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
  }
  const auto bare = usol({"sweep", "scenes", "--backbone", "colour", "--out", "s", "--param", "lr=0.1"});
  EXPECT_THAT(bare.err, HasSubstr("train-config is missing"));
  const auto dry = sweep({"--param", "seed=1,2", "--dry-run"});
  EXPECT_EQ(dry.status, kSuccess) << dry.err;
  EXPECT_THAT(dry.err, HasSubstr("seed=2"));
  EXPECT_FALSE(fs::exists(folder_ / "s"));
}

TEST_F(SweepTrainTest, DataAreCheckedBeforeTheFirstPoint) {
  std::string lost = text("scenes/truth.json");
  lost.replace(lost.find("00002.png"), 9, "gone.png");
  test::write_text(folder_ / "lost.json", lost);
  for (const Words& more : {Words{"--dry-run"}, Words{}}) {
    Words of_evaluation{"--param", "lr=0.1", "--eval-annotations", "lost.json"};
    Words of_training{"--param", "lr=0.1", "--train-masks", "lost.json"};
    for (Words words : {of_evaluation, of_training}) {
      words.insert(words.end(), more.begin(), more.end());
      const auto result = sweep(words);
      EXPECT_EQ(result.status, kFailure) << result.err;
      EXPECT_THAT(result.err, HasSubstr("gone.png"));
      EXPECT_FALSE(fs::exists(folder_ / "s"));
    }
  }
}

}  // namespace
}  // namespace usol::cli
