// `usol pretrain` as a user types it: interrupted and undisturbed runs, several processes, a result that other verbs
// take, a collapse that is said.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/metrics.h"
#include "tests/support/noise.h"
#include "tests/support/process.h"
#include "tests/support/stopped_run.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/generator.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

// Eight small pictures of one noise, each with a grey bar in another place.
class PretrainTest : public testing::Test {
 protected:
  PretrainTest() {
    fs::create_directories(folder_ / "pictures");
    for (std::int64_t i = 0; i < 8; ++i) {
      Tensor picture = test::noise(40 + i, 52, 3);
      picture.slice(1, 5 * i, 5 * i + 12).fill(static_cast<double>(30 * i));
      io::write_png(folder_ / "pictures" / (std::to_string(i) + ".png"), picture);
    }
    test::write_text(folder_ / "small.toml",
                     "[pretrain]\npreset = \"tiny\"\nwidth = 64\ndepth = 2\nglobal-px = 32\nlocal-px = 16\n"
                     "local-crops = 2\nhead-hidden = 32\nbottleneck = 16\nout-dim = 48\nbatch = 4\nepochs = 6\n"
                     "warmup-epochs = 1\nwarmup-teacher-temp-epochs = 2\ndrop-path = 0.1\nlr = 0.05\n"
                     "checkpoint-every = 4\nlog-every = 3\npictures-every = 6\n");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Words arguments(const std::string& out, const Words& more) const {
    Words words{"pretrain", at("pictures"), "--config", at("small.toml"), "--threads", "1", "--out", at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  test::ProcessResult pretrain(const std::string& out, const Words& more = {},
                               const test::ProcessOptions& options = {}) const {
    return test::run_usol(arguments(out, more), options);
  }
  std::vector<Json> metrics(const std::string& out) const { return test::read_metrics(folder_ / out / "metrics.json"); }
  void expect_same_run(const std::string& a, const std::string& b) const {
    EXPECT_EQ(metrics(a), metrics(b));
    for (const char* name : {"model_final.safetensors", "model_final.pth"})
      EXPECT_EQ(test::read_text(folder_ / a / name), test::read_text(folder_ / b / name)) << name;
  }

  test::TempDir folder_;
};

TEST_F(PretrainTest, AnInterruptedRunIsTheUndisturbedOne) {
  const auto whole = pretrain("whole");
  ASSERT_EQ(whole.status, 0) << whole.err;
  EXPECT_NE(whole.err.find("8 pictures: 6 epochs of 2 steps of 4"), std::string::npos) << whole.err;
  ASSERT_EQ(metrics("whole").size(), 4U);
  for (const char* key : {"loss_dino", "loss_patch", "feature_spread", "teacher_entropy", "teacher_information", "lr"})
    EXPECT_TRUE(metrics("whole")[0].contains(key)) << key;
  EXPECT_TRUE(fs::exists(folder_ / "whole" / "pictures" / "step_0000006_3.jpg"));

  // As kill -9 after step 9 leaves it: the last checkpoint is of step 8, and a line is cut short.
  fs::create_directories(folder_ / "killed");
  fs::copy_file(folder_ / "whole" / "checkpoint_0000008.safetensors",
                folder_ / "killed" / "checkpoint_0000008.safetensors");
  const std::string lines = test::read_text(folder_ / "whole" / "metrics.json");
  test::write_text(folder_ / "killed" / "metrics.json", lines.substr(0, lines.size() - 40));
  const auto resumed = pretrain("killed", {"--resume"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("going on after step 8"), std::string::npos) << resumed.err;
  expect_same_run("whole", "killed");

  // Stopped by a signal, again and again, and killed at random moments.
  const auto stopped =
      test::run_stopped([&](const test::ProcessOptions& options) { return pretrain("stopped", {"--resume"}, options); },
                        SIGTERM, 0.3, 1.3, [&] { fs::remove_all(folder_ / "stopped"); });
  ASSERT_EQ(stopped.last.status, 0) << stopped.last.err;
  EXPECT_GT(stopped.stops, 0);
  expect_same_run("whole", "stopped");
  Generator random(13);
  const auto shot =
      test::run_stopped([&](const test::ProcessOptions& options) { return pretrain("shot", {"--resume"}, options); },
                        SIGKILL, 0.4, 1.25, [&] { fs::remove_all(folder_ / "shot"); }, &random);
  ASSERT_EQ(shot.last.status, 0) << shot.moments << shot.last.err;
  EXPECT_GT(shot.stops, 0);
  SCOPED_TRACE("killed after" + shot.moments);
  expect_same_run("whole", "shot");

  // A finished one is left alone, other settings are refused, so is a training without --resume.
  EXPECT_EQ(pretrain("killed", {"--resume"}).status, 0);
  fs::remove(folder_ / "killed" / "model_final.safetensors");
  const auto changed = pretrain("killed", {"--resume", "--teacher-temp", "0.05"});
  EXPECT_EQ(changed.status, kBadUsage);
  EXPECT_NE(changed.err.find("teacher-temp"), std::string::npos) << changed.err;
  const auto refused = pretrain("whole");
  EXPECT_EQ(refused.status, kBadUsage);
  EXPECT_NE(refused.err.find("holds a training"), std::string::npos) << refused.err;
  EXPECT_EQ(pretrain("whole", {"--force", "--epochs", "2"}).status, 0);
  EXPECT_EQ(metrics("whole").back()["iteration"], 3);
}

TEST_F(PretrainTest, OtherVerbsTakeTheResult) {
  ASSERT_EQ(pretrain("pre", {"--epochs", "2"}).status, 0);
  for (const char* name : {"model_final.safetensors", "model_final.pth"}) {
    const auto info = test::run_usol({"info", at(std::string("pre/") + name)});
    EXPECT_NE(info.out.find("ViT width 64 depth 2 patch 8"), std::string::npos) << info.out << info.err;
  }
  const auto masks = test::run_usol({"maskcut", at("pictures"), "--weights", at("pre/model_final.pth"), "--size", "64",
                                     "--no-crf", "--out", at("masks.json")});
  EXPECT_EQ(masks.status, 0) << masks.err;
  // ... and it goes on from there, with its own or with more positions.
  const auto more = pretrain("more", {"--epochs", "2", "--weights", at("pre/model_final.pth"), "--global-px", "48"});
  EXPECT_EQ(more.status, 0) << more.err;
  const auto before = io::read_safetensors(folder_ / "pre" / "model_final.safetensors").tensors;
  EXPECT_EQ(before.size(), 30U);
  EXPECT_EQ(before.at("pos_embed").shape(), Shape({1, 17, 64}));
  EXPECT_EQ(io::read_safetensors(folder_ / "more" / "model_final.safetensors").tensors.at("pos_embed").shape(),
            Shape({1, 17, 64}));
  const auto other = pretrain("other", {"--weights", at("pre/model_final.pth"), "--depth", "3"});
  EXPECT_EQ(other.status, kBadUsage);
  EXPECT_NE(other.err.find("depth 2"), std::string::npos) << other.err;
}

TEST_F(PretrainTest, PassesAndProcessesMakeTheStepsOfOne) {
  ASSERT_EQ(pretrain("one", {"--log-every", "1"}).status, 0);
  const auto one = metrics("one");
  ASSERT_EQ(one.size(), 12U);
  const auto expect_near = [&](const std::string& other) {
    const auto lines = metrics(other);
    ASSERT_EQ(lines.size(), 12U) << other;
    for (std::size_t i = 0; i < one.size(); ++i)
      for (const auto& [key, value] : one[i].items()) {
        const auto expected = value.get<double>();
        EXPECT_NEAR(expected, lines[i].at(key).get<double>(), 1e-5 * std::max(1.0, expected))
            << key << " of line " << i << " of " << other;
      }
  };
  const auto passes = pretrain("passes", {"--log-every", "1", "--accumulate", "4"});
  ASSERT_EQ(passes.status, 0) << passes.err;
  expect_near("passes");
  const auto refused = pretrain("none", {"--accumulate", "3"});
  EXPECT_EQ(refused.status, kBadUsage);
  EXPECT_NE(refused.err.find("accumulate 3"), std::string::npos) << refused.err;
  if (const std::string why = test::no_ranks(); !why.empty()) GTEST_SKIP() << why;
  const auto two = test::run_ranks(2, arguments("two", {"--log-every", "1"}));
  ASSERT_EQ(two.status, 0) << two.err;
  expect_near("two");
  const auto both = test::run_ranks(2, arguments("both", {"--log-every", "1", "--accumulate", "2"}));
  ASSERT_EQ(both.status, 0) << both.err;
  expect_near("both");
}

// A teacher so hot that all its outputs are alike.
TEST_F(PretrainTest, ACollapseIsSaid) {
  const auto healthy = pretrain("healthy");
  EXPECT_EQ(healthy.err.find("collapsed"), std::string::npos) << healthy.err;
  const auto collapsed = pretrain("collapsed", {"--teacher-temp", "50", "--warmup-teacher-temp", "50"});
  EXPECT_EQ(collapsed.status, 0);
  const std::size_t first = collapsed.err.find("the training has collapsed");
  ASSERT_NE(first, std::string::npos) << collapsed.err;
  EXPECT_EQ(collapsed.err.find("the training has collapsed", first + 1), std::string::npos) << collapsed.err;
}

TEST_F(PretrainTest, PicturesThatCannotBeReadAreSkippedAndListed) {
  test::write_text(folder_ / "pictures" / "4.png", "no picture");
  const auto strict = pretrain("strict");
  EXPECT_EQ(strict.status, kFailure);
  EXPECT_NE(strict.err.find("most-skipped"), std::string::npos) << strict.err;
  const auto lenient = pretrain("lenient", {"--most-skipped", "0.2"});
  EXPECT_EQ(lenient.status, 3) << lenient.err;
  EXPECT_NE(test::read_text(folder_ / "lenient" / "skipped.txt").find("4.png"), std::string::npos);
}

TEST_F(PretrainTest, ErrorsNameWhatIsWrong) {
  const auto expect_error = [&](const Words& more, const std::string& text) {
    const auto result = pretrain("none", more);
    EXPECT_EQ(result.status, kBadUsage) << text << result.err;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(folder_ / "none"));
  };
  expect_error({"--width", "100"}, "width 100");
  expect_error({"--batch", "9"}, "batch 9: there are 8 pictures");
  expect_error({"--epochs", "1"}, "warmup-epochs 1");
  expect_error({"--local-px", "20"}, "local-px 20");
  expect_error({"--weights", at("nothing.pth")}, "nothing.pth: no such file");
  expect_error({"--local-scale", "0.6,0.5"}, "crops: expected a scale");
  const auto dry = pretrain("dry", {"--dry-run"});
  EXPECT_EQ(dry.status, 0) << dry.err;
  EXPECT_FALSE(fs::exists(folder_ / "dry"));
}

}  // namespace
}  // namespace usol::cli
