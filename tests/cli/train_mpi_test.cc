// `mpirun -n 2 usol train`: two processes that share a batch make the steps of one, and the loss of one ends the job.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "usol/cli/verb.h"
#include "usol/io/safetensors.h"
#include "usol/train/checkpoint.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

// Pictures of many sizes with a bright rectangle each.
class TrainMpiTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = test::no_ranks(); !why.empty()) GTEST_SKIP() << why;
    std::vector<test::RectanglePicture> pictures;
    for (std::int64_t i = 0; i < 8; ++i)
      pictures.push_back({56 + 6 * i, i % 2 == 0 ? 50 : 120, 4, 40 + 2 * i, 12 - i, 40});
    test::write_rectangles(folder_.path(), pictures);
    const std::string resnet = "blocks = [1, 1, 1, 1]\nresnet-channels = 16\n";
    const std::string all =
        "channels = 8\nhidden = 16\n"
        "short-sides = [48, 64, 80]\nbatch = 8\nreference-batch = 8\nproposals = 50\nlr = 0.02\nwarmup = 0\n"
        "iterations = 4\nsteps = [3]\nlog-every = 1\ncheckpoint-every = 2\nprecise-bn = 2\n";
    test::write_text(folder_ / "small.toml", "[train]\n" + resnet + all);
    test::write_text(folder_ / "small_vit.toml", "[train]\narch = \"vitdet\"\n" + all);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult train(int processes, const std::string& out, const Words& more = {},
                            const std::string& settings = "small.toml") const {
    Words words{"train",
                "--config",
                at(settings),
                "--annotations",
                at("truth.json"),
                "--image-root",
                folder_.path().string(),
                "--threads",
                "1",
                "--workers",
                "1",
                "--out",
                at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_ranks(processes, words);
  }
  std::vector<Json> metrics(const std::string& out) const { return test::read_metrics(folder_ / out / "metrics.json"); }
  void expect_same_training(const std::string& a, const std::string& b) const {
    const auto lines_a = metrics(a), lines_b = metrics(b);
    ASSERT_EQ(lines_a.size(), lines_b.size());
    for (std::size_t i = 0; i < lines_a.size(); ++i)
      for (const auto& [key, value] : lines_a[i].items())
        if (key.find("loss") != std::string::npos)
          EXPECT_NEAR(value.get<double>(), lines_b[i].at(key).get<double>(), 1e-5) << key << " of line " << i;
    const auto model_a = io::read_safetensors(folder_ / a / "model_final.safetensors").tensors;
    const auto model_b = io::read_safetensors(folder_ / b / "model_final.safetensors").tensors;
    ASSERT_EQ(model_a.size(), model_b.size());
    for (const auto& [name, tensor] : model_a) {
      if (tensor.dtype() != DType::kF32) continue;
      const auto values_a = tensor.to_vector<float>(), values_b = model_b.at(name).to_vector<float>();
      double largest = 0, difference = 0;
      for (std::size_t i = 0; i < values_a.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(values_a[i])));
        difference = std::max(difference, std::abs(static_cast<double>(values_a[i]) - values_b[i]));
      }
      // Biases that begin at zero have moved by 1e-4 only: the rounding of sums that cancel shows in them.
      EXPECT_LE(difference, 1e-5 * largest + 1e-7) << name;
    }
  }

  test::TempDir folder_;
};

TEST_F(TrainMpiTest, TwoProcessesMakeTheStepsOfOne) {
  const auto one = train(1, "one"), two = train(2, "two");
  ASSERT_EQ(one.status, 0) << one.err;
  ASSERT_EQ(two.status, 0) << two.err;
  expect_same_training("one", "two");
  EXPECT_EQ(two.err.find("2 processes share"), two.err.rfind("2 processes share")) << "both speak: " << two.err;

  // The release's losses, and passes of shares.
  const Words other{"--preset", "release", "--accumulate", "2", "--iterations", "2", "--steps", "1"};
  const auto one_release = train(1, "one_release", other), two_release = train(2, "two_release", other);
  ASSERT_EQ(one_release.status, 0) << one_release.err;
  ASSERT_EQ(two_release.status, 0) << two_release.err;
  expect_same_training("one_release", "two_release");

  // Sums that wait for the end of backward are the same bits.
  const auto later = train(2, "later", {"--no-overlap"});
  ASSERT_EQ(later.status, 0) << later.err;
  EXPECT_EQ(test::read_text(folder_ / "later" / "model_final.safetensors"),
            test::read_text(folder_ / "two" / "model_final.safetensors"));

  // One process goes on where two were stopped.
  fs::remove(folder_ / "two" / "model_final.safetensors");
  fs::remove(folder_ / "two" / "checkpoint_0000004.safetensors");
  const auto resumed = train(1, "two", {"--resume"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  expect_same_training("one", "two");
}

TEST_F(TrainMpiTest, SharedEvaluationScoresAsOneProcessDoes) {
  ASSERT_EQ(train(1, "start").status, 0);
  // A step that changes nothing but the norms' running averages.
  Words words{"--weights",          at("start/model_final.safetensors"),
              "--eval-annotations", at("truth.json"),
              "--eval-image-root",  folder_.path().string()};
  for (const auto& [option, value] : {std::pair{"--iterations", "1"},
                                      {"--steps", "1"},
                                      {"--lr", "1e-9"},
                                      {"--precise-bn", "0"},
                                      {"--eval-short-side", "64"}})
    words.insert(words.end(), {option, value});
  const auto one = train(1, "one", words), two = train(2, "two", words);
  ASSERT_EQ(one.status, 0) << one.err;
  ASSERT_EQ(two.status, 0) << two.err;
  const Json scores = metrics("one").back(), shared = metrics("two").back();
  EXPECT_GT(scores.at("bbox/AR100").get<double>(), 0) << scores;
  for (const auto& [key, value] : scores.items()) {
    if (key.find('/') != std::string::npos) EXPECT_NEAR(value.get<double>(), shared.at(key).get<double>(), 0.5) << key;
  }
}

// What is drawn for a picture depends on its place in the whole batch.
TEST_F(TrainMpiTest, ViTDetLeavesOutTheSamePaths) {
  const Words vit{"--vit-width", "64",    "--vit-depth",  "4",   "--image-side",  "64", "--long-side",  "64",
                  "--lr",        "0.002", "--drop-path",  "0.9", "--batch",       "4",  "--iterations", "2",
                  "--steps",     "2",     "--precise-bn", "0",   "--short-sides", "48"};
  const auto one = train(1, "one", vit, "small_vit.toml"), two = train(2, "two", vit, "small_vit.toml");
  ASSERT_EQ(one.status, 0) << one.err;
  ASSERT_EQ(two.status, 0) << two.err;
  expect_same_training("one", "two");
}

TEST_F(TrainMpiTest, ABatchThatCannotBeSharedIsAnError) {
  const auto result = train(2, "odd", {"--batch", "6"});
  EXPECT_EQ(result.status, kBadUsage) << result.err;
  EXPECT_NE(result.err.find("cannot be shared equally by 2 processes"), std::string::npos) << result.err;
}

// Sends signals to processes of the training in `out`, one after the other, once that checkpoint is there.
class Signaller {
 public:
  struct ToRank {
    int rank, signal;
  };
  Signaller(const fs::path& out, const std::string& checkpoint, const std::vector<ToRank>& signals)
      : thread_([this, out, checkpoint, signals] {
          while (!ended_ && !fs::exists(out / checkpoint)) std::this_thread::sleep_for(std::chrono::milliseconds(50));
          bool all = true;
          for (const auto [rank, signal] : signals)
            all = test::send_signal(test::rank_process(out.string(), rank), signal) && all;
          sent_ = all;
        }) {}
  /// Call it when the training has ended; false if nothing was sent.
  bool sent() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
    return sent_;
  }
  ~Signaller() { sent(); }
  Signaller(const Signaller&) = delete;
  Signaller& operator=(const Signaller&) = delete;

 private:
  std::atomic<bool> ended_ = false, sent_ = false;
  std::thread thread_;
};

TEST_F(TrainMpiTest, ALostProcessEndsTheJob) {
  const fs::path out = folder_ / "lost";
  Signaller signaller(out, "checkpoint_0000004.safetensors", {{1, SIGKILL}});
  const auto result = train(2, "lost", {"--iterations", "2000", "--steps", "1999"});
  ASSERT_TRUE(signaller.sent()) << result.err;
  EXPECT_NE(result.status, 0) << result.err;
  EXPECT_FALSE(fs::exists(out / "model_final.safetensors"));
  const auto saved = train::CheckpointFolder(out, 2).load_newest().state;
  ASSERT_TRUE(saved.has_value());
  EXPECT_TRUE(saved->tensors.contains("trainer/counts"));
}

TEST_F(TrainMpiTest, ASignalToOneProcessStopsAll) {
  const fs::path out = folder_ / "stopped";
  Signaller signaller(out, "checkpoint_0000002.safetensors", {{1, SIGUSR1}});
  const auto result = train(2, "stopped", {"--iterations", "2000", "--steps", "1999"});
  ASSERT_TRUE(signaller.sent()) << result.err;
  EXPECT_EQ(result.status, 128 + SIGUSR1) << result.err;
  EXPECT_NE(result.err.find("--resume goes on"), std::string::npos) << result.err;
}

// As long as the others come: a process that hangs takes the job with it.
TEST_F(TrainMpiTest, ASignalEndsTheWaitForAProcessThatDoesNotCome) {
  const fs::path out = folder_ / "hung";
  Signaller signaller(out, "checkpoint_0000002.safetensors", {{1, SIGSTOP}, {0, SIGTERM}});
  const auto result = train(2, "hung", {"--iterations", "2000", "--steps", "1999"});
  ASSERT_TRUE(signaller.sent()) << result.err;
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.err;
  EXPECT_NE(result.err.find("the other processes did not stop within 30 s"), std::string::npos) << result.err;
  EXPECT_EQ(test::rank_process(out.string(), 1), -1);
}

}  // namespace
}  // namespace usol::cli
