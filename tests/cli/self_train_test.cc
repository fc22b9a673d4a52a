// `usol self-train` as a user types it, on a few scenes: its stages, and that a run which was killed again and again is
// the run that was not.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/scenes.h"
#include "tests/support/stopped_run.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/tensor/generator.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

class SelfTrainTest : public testing::Test {
 protected:
  SelfTrainTest() {
    const test::SceneOptions options{.seed = 5, .short_px = 48, .long_px = 64, .most_objects = 3, .most_px = 40};
    test::write_scenes(folder_ / "scenes", options, 4);
    const std::string detector =
        "[train]\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\nchannels = 8\nhidden = 16\nshort-sides = [48]\n"
        "batch = 2\ngroup-size = 1\nreference-batch = 2\nprecise-bn = 2\nproposals = 30\nlr = 0.02\nwarmup = "
        "2\ncheckpoint-every = "
        "2\nlog-every = 2\n";
    test::write_text(folder_ / "base.toml", detector + "iterations = 5\nsteps = [4]\n");
    test::write_text(folder_ / "round.toml", detector + "iterations = 3\nsteps = [2]\ndroploss = false\n");
    test::write_text(folder_ / "loop.toml",
                     "[self-train]\nrounds = 2\nthresholds = [0.5, 0.45]\ntrain-config = \"base.toml\"\n"
                     "round-config = \"round.toml\"\n[maskcut]\nbackbone = \"colour\"\nsize = 48\npatch = 6\n"
                     "[predict]\nshort-side = 48\n");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult run(const std::string& out, const Words& more = {}, const test::ProcessOptions& options = {},
                          int processes = 1) const {
    Words words{"self-train", "--config", at("loop.toml"), "--image-root", at("scenes"),
                "--threads",  "1",        "--out",         at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_ranks(processes, words, options);
  }
  Words evaluated() const { return {"--eval-annotations", at("scenes/truth.json"), "--eval-image-root", at("scenes")}; }
  Json manifest(const std::string& out) const { return Json::parse(test::read_text(folder_ / out / "manifest.json")); }
  // All files but TensorBoard's, which have times, and what kill -9 left half written; trainings' figures without their
  // times.
  std::map<std::string, std::string> files(const std::string& out) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / out)) {
      const fs::path name = fs::relative(entry.path(), folder_ / out);
      if (!entry.is_regular_file() || name.extension() == ".usol" || name.extension() == ".tmp") continue;
      const bool figures = name.string().ends_with("train/metrics.json");
      all[name.string()] = figures ? Json(test::read_metrics(entry.path())).dump() : test::read_text(entry.path());
    }
    return all;
  }
  void expect_same_files(const std::string& a, const std::string& b) const {
    const auto expected = files(a), got = files(b);
    for (const auto& [name, content] : expected) {
      ASSERT_TRUE(got.contains(name)) << name;
      EXPECT_TRUE(got.at(name) == content) << name;
    }
    for (const auto& [name, content] : got) EXPECT_TRUE(expected.contains(name)) << name << " was left behind";
  }

  test::TempDir folder_;
};

TEST_F(SelfTrainTest, ARunThatIsKilledAgainAndAgainIsTheUndisturbedOne) {
  const auto whole = run("whole", evaluated());
  ASSERT_EQ(whole.status, kSuccess) << whole.err;
  std::vector<std::string> names;
  const Json done = manifest("whole")["stages"];
  for (const Json& stage : done) names.push_back(stage["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"masks", "base/train", "base/eval-predict", "base/eval", "round1/predict",
                                             "round1/merge", "round1/train", "round1/eval-predict", "round1/eval",
                                             "round2/predict", "round2/merge", "round2/train", "round2/eval-predict",
                                             "round2/eval"}));
  // What each stage was given is what the paper says.
  EXPECT_EQ(done[1]["settings"]["droploss"], true);
  EXPECT_EQ(done[6]["settings"]["droploss"], false);
  EXPECT_EQ(done[4]["settings"]["most"], 30);
  EXPECT_EQ(done[5]["settings"]["score"], 0.5);
  EXPECT_EQ(done[10]["settings"]["score"], 0.45);
  const Json round2 = Json::parse(test::read_text(folder_ / "whole" / "round2" / "merge" / "masks.json"))["info"];
  EXPECT_EQ(round2["previous_sha256"], done[5]["sha256"]);
  EXPECT_EQ(round2["predictions_sha256"], done[9]["sha256"]);
  EXPECT_TRUE(Json::parse(test::read_text(folder_ / "whole" / "round2" / "eval" / "metrics.json")).contains("mask"));

  // Killed at random moments, ever later, until it is through: soon enough for the fastest machine to be killed, late
  // enough in the end for the slowest to get on.
  Generator random(11);
  Words resumed = evaluated();
  resumed.push_back("--resume");
  const auto shot =
      test::run_stopped([&](const test::ProcessOptions& options) { return run("shot", resumed, options); }, SIGKILL,
                        0.02, 1.15, [&] { fs::remove_all(folder_ / "shot"); }, &random);
  ASSERT_EQ(shot.last.status, kSuccess) << shot.moments << shot.last.err;
  EXPECT_GT(shot.stops, 1);
  expect_same_files("whole", "shot");
}

TEST_F(SelfTrainTest, TwoProcessesGoThroughTheSameStages) {
  if (const std::string why = test::no_ranks(); !why.empty()) GTEST_SKIP() << why;
  Words words = evaluated();
  words.insert(words.end(), {"--rounds", "1"});
  const auto one = run("one", words), two = run("two", words, {}, 2);
  ASSERT_EQ(one.status, kSuccess) << one.err;
  ASSERT_EQ(two.status, kSuccess) << two.err;
  const Json stages_one = manifest("one")["stages"], stages_two = manifest("two")["stages"];
  EXPECT_EQ(manifest("one")["info"], manifest("two")["info"]);
  ASSERT_EQ(stages_one.size(), stages_two.size());
  for (std::size_t i = 0; i < stages_one.size(); ++i)
    for (const char* key : {"name", "settings", "status"}) EXPECT_EQ(stages_one[i][key], stages_two[i][key]);
  EXPECT_EQ(stages_one[0]["sha256"], stages_two[0]["sha256"]);  // MaskCut's masks
  // Sums over processes are rounded elsewhere, and that is all.
  const auto scores = [&](const std::string& out) {
    std::vector<double> best;
    for (const auto& found : io::read_coco(folder_ / out / "base/eval-predict/predictions.json").annotations)
      best.push_back(found.score);
    return best;
  };
  const auto scores_one = scores("one"), scores_two = scores("two");
  ASSERT_EQ(scores_one.size(), scores_two.size());
  for (std::size_t i = 0; i < scores_one.size(); ++i) EXPECT_NEAR(scores_one[i], scores_two[i], 1e-4) << i;
  const auto one_files = files("one"), two_files = files("two");
  for (const auto& [name, content] : two_files) EXPECT_TRUE(one_files.contains(name)) << name;
  EXPECT_EQ(one_files.size(), two_files.size());

  // One of the processes is killed twice, in different stages.
  words.push_back("--resume");
  for (const char* seen : {"base/train/checkpoint_0000002.safetensors", "round1/predict"}) {
    bool sent = false;
    const auto killed = run("lost", words,
                            {.meanwhile =
                                 [&](pid_t child) {
                                   const auto begun = [&] { return fs::exists(folder_ / "lost" / seen); };
                                   ASSERT_TRUE(test::wait_until(begun, child));
                                   sent = test::send_signal(test::rank_process(at("lost"), 1), SIGKILL);
                                 }},
                            2);
    EXPECT_EQ(killed.status == kSuccess, !sent) << killed.err;  // unless the machine was too fast for this
  }
  const auto resumed = run("lost", words, {}, 2);
  ASSERT_EQ(resumed.status, kSuccess) << resumed.err;
  expect_same_files("two", "lost");
}

TEST_F(SelfTrainTest, RoundsCanBeAddedAndChangesAreRefused) {
  ASSERT_EQ(run("out", {"--rounds", "0", "--annotations", at("scenes/truth.json")}).status, kSuccess);
  EXPECT_EQ(manifest("out")["stages"].size(), 1u);
  const std::string base = test::read_text(folder_ / "out/base/train/model_final.safetensors");
  EXPECT_EQ(run("out", {"--rounds", "1", "--annotations", at("scenes/truth.json")}).status, kBadUsage);  // no --resume
  const auto more = run("out", {"--rounds", "1", "--annotations", at("scenes/truth.json"), "--resume"});
  ASSERT_EQ(more.status, kSuccess) << more.err;
  EXPECT_EQ(manifest("out")["stages"].size(), 4u);
  EXPECT_EQ(test::read_text(folder_ / "out/base/train/model_final.safetensors"), base);

  test::write_text(folder_ / "base.toml", test::read_text(folder_ / "base.toml") + "clip = 2\n");
  const auto changed = run("out", {"--rounds", "1", "--annotations", at("scenes/truth.json"), "--resume"});
  EXPECT_EQ(changed.status, kBadUsage);
  EXPECT_NE(changed.err.find("base/train was made with other settings: settings.clip"), std::string::npos)
      << changed.err;
  // What another version has written is named, with what to do.
  Json later = manifest("out");
  later["usol_self_train"] = 2;
  test::write_text(folder_ / "out/manifest.json", later.dump());
  const auto other = run("out", {"--rounds", "1", "--annotations", at("scenes/truth.json"), "--resume"});
  EXPECT_EQ(other.status, kBadUsage);
  EXPECT_NE(other.err.find("out/manifest.json was written by another version of usol"), std::string::npos) << other.err;
  EXPECT_NE(other.err.find("; finish it with that version, or start anew with --force"), std::string::npos);
  // A mistake in the settings of a late stage is found before the first one.
  test::write_text(folder_ / "round.toml", "[train]\nlearning-rate = 3\n");
  const auto wrong = run("new");
  EXPECT_EQ(wrong.status, kBadUsage);
  EXPECT_NE(wrong.err.find("unknown key 'learning-rate'"), std::string::npos) << wrong.err;
  EXPECT_FALSE(fs::exists(folder_ / "new"));
}

TEST_F(SelfTrainTest, DataAreCheckedBeforeTheFirstStage) {
  const std::string truth = test::read_text(folder_ / "scenes/truth.json");
  std::string lost = truth;
  lost.replace(lost.find("00002.png"), 9, "gone.png");
  test::write_text(folder_ / "lost.json", lost);
  for (const Words& more : {Words{"--dry-run"}, Words{}}) {
    Words of_training{"--annotations", at("lost.json")}, of_evaluation = evaluated();
    of_evaluation[1] = at("lost.json");
    for (Words words : {of_training, of_evaluation}) {
      words.insert(words.end(), more.begin(), more.end());
      const auto result = run("out", words);
      EXPECT_EQ(result.status, kFailure) << result.err;
      EXPECT_NE(result.err.find("gone.png"), std::string::npos) << result.err;
      EXPECT_FALSE(fs::exists(folder_ / "out"));
    }
  }
}

TEST_F(SelfTrainTest, AnOutputThatWasDamagedIsNamed) {
  const Words words{"--rounds", "0", "--annotations", at("scenes/truth.json")};
  ASSERT_EQ(run("out", words).status, kSuccess);
  const fs::path model = folder_ / "out/base/train/model_final.safetensors";
  const std::string whole = test::read_text(model);
  fs::resize_file(model, 1000);
  Words resume = words;
  resume.push_back("--resume");
  const auto damaged = run("out", resume);
  EXPECT_EQ(damaged.status, kFailure);
  EXPECT_NE(damaged.err.find(model.string() + " is damaged or was changed after stage base/train"), std::string::npos)
      << damaged.err;
  fs::remove(model);
  const auto again = run("out", resume);
  ASSERT_EQ(again.status, kSuccess) << again.err;
  EXPECT_EQ(test::read_text(model), whole);
}

TEST(SelfTrainConfigs, TheLoopsOfThePaperAndOfThePublicCode) {
  test::TempDir folder;
  for (const auto& [name, rate] : {std::pair{"self_train.toml", 0.01}, {"self_train_release.toml", 0.005}}) {
    const std::string config = test::source_path(std::string("configs/") + name);
    const auto shown = test::run_usol({"self-train", "--config", config, "--image-root", folder.path().string(),
                                       "--maskcut-weights", config, "--out", (folder / "x").string(), "--dry-run"});
    EXPECT_EQ(shown.status, kSuccess) << shown.err;
    EXPECT_NE(shown.err.find("round3/train"), std::string::npos) << shown.err;
    EXPECT_EQ(shown.err.find("--max-pixels"), std::string::npos) << shown.err;
    const bool release = rate < 0.01;
    const fs::path round = fs::path(config).parent_path() /
                           (release ? "cutler_cascade_self_train_release.toml" : "cutler_cascade_self_train.toml");
    EXPECT_NE(shown.err.find(round.string()), std::string::npos) << shown.err;
    const Json settings = verb_settings("train", {"--config", round.string()});
    EXPECT_EQ(settings["lr"], rate);
    EXPECT_EQ(settings["droploss"], false);
    EXPECT_EQ(settings["rpn-nms"], 0.7);
    EXPECT_EQ(settings["proposals"], 1000);
    EXPECT_EQ(settings["weight-decay"], 1e-4);
    EXPECT_EQ(settings["iterations"], 80000);
  }
}

TEST(SelfTrainConfigs, AllStagesReadTheSamePixels) {
  test::TempDir folder;
  const std::string config = test::source_path("configs/self_train.toml");
  const auto shown = test::run_usol({"self-train", "--config", config, "--image-root", folder.path().string(), "--out",
                                     (folder / "x").string(), "--scale-16bit", "--max-pixels", "99", "--dry-run"});
  EXPECT_EQ(shown.status, kSuccess) << shown.err;
  std::istringstream lines(shown.err);
  int reading = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool reads = line.find("usol maskcut") != line.npos || line.find("usol train") != line.npos ||
                       line.find("usol predict") != line.npos;
    reading += reads ? 1 : 0;
    EXPECT_EQ(line.find("--scale-16bit --max-pixels 99") != line.npos, reads) << line;
  }
  EXPECT_EQ(reading, 1 + 4 + 3);  // masks, trainings, predictions
}

}  // namespace
}  // namespace usol::cli
