// `usol train` as a user types it: a small detector learns a tiny synthetic set; a run that was killed and resumed is
// the run that was not.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/stopped_run.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "usol/cli/verb.h"
#include "usol/io/event_file.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/generator.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

// Four pictures of 64 x 64 with a bright rectangle each.
class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    std::vector<test::RectanglePicture> pictures;
    for (std::int64_t i = 0; i < 4; ++i) pictures.push_back({64, 64, 4 + 4 * i, 40 + 4 * i, 20 - 4 * i, 52 - 4 * i});
    test::write_rectangles(folder_.path(), pictures);
    test::write_text(
        folder_ / "small.toml",
        "[train]\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\nchannels = 8\nhidden = 16\n"
        "short-sides = [64]\nbatch = 2\nreference-batch = 2\nproposals = 50\nlr = 0.02\nwarmup = 5\n"
        "iterations = 12\nsteps = [10]\nlog-every = 3\ncheckpoint-every = 4\nprecise-bn = 3\nprecise-bn-every = 6\n");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Words arguments(const std::string& out, const Words& more) const {
    Words words{"train",
                "--config",
                at("small.toml"),
                "--annotations",
                at("truth.json"),
                "--image-root",
                folder_.path().string(),
                "--threads",
                "1",
                "--out",
                at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  test::ProcessResult train(const std::string& out, const Words& more = {},
                            const test::ProcessOptions& options = {}) const {
    return test::run_usol(arguments(out, more), options);
  }
  std::vector<Json> metrics(const std::string& out) const { return test::read_metrics(folder_ / out / "metrics.json"); }
  void expect_same_run(const std::string& a, const std::string& b) const {
    EXPECT_EQ(metrics(a), metrics(b));
    for (const char* name : {"model_final.safetensors", "model_final_ema.safetensors"})
      EXPECT_EQ(test::read_text(folder_ / a / name), test::read_text(folder_ / b / name)) << name;
  }

  test::TempDir folder_;
};

TEST_F(TrainTest, AnInterruptedRunIsTheUndisturbedOne) {
  // With everything on that has a state.
  Words all{"--optimizer", "adamw", "--lr", "0.002", "--accumulate", "2", "--ema", "0.9", "--pictures-every", "6"};
  for (const char* word :
       {"--eval-annotations", "truth.json", "--eval-image-root", ".", "--eval-every", "6", "--eval-short-side", "64"})
    all.push_back(std::string(word) == "truth.json" ? at(word)
                  : std::string(word) == "."        ? folder_.path().string()
                                                    : word);
  Words resume = all;
  resume.push_back("--resume");
  const auto whole = train("whole", all);
  ASSERT_EQ(whole.status, 0) << whole.err;
  ASSERT_EQ(metrics("whole").size(), 6u);
  EXPECT_TRUE(metrics("whole")[2].contains("segm/AP50")) << metrics("whole")[2];
  EXPECT_EQ(metrics("whole")[2]["iteration"], 5);
  EXPECT_NE(whole.err.find("evaluation after step 12:  bbox/AP "), std::string::npos) << whole.err;
  EXPECT_TRUE(fs::exists(folder_ / "whole" / "pictures" / "step_0000006_1.jpg"));
  const auto events = io::read_events(folder_ / "whole" / "events.out.tfevents.usol");
  ASSERT_EQ(events.size(), 1u + 6 + 4);
  EXPECT_EQ(events[1].scalars.at("total_loss"), metrics("whole")[0]["total_loss"].get<float>());
  EXPECT_EQ(metrics("whole")[0]["iteration"], 2);
  EXPECT_TRUE(metrics("whole")[0].contains("loss_cls_stage2"));
  EXPECT_NE(whole.err.find("iteration 3/12"), std::string::npos) << whole.err;
  EXPECT_FALSE(fs::exists(folder_ / "whole" / "checkpoint_0000004.safetensors"));  // two are kept
  EXPECT_TRUE(fs::exists(folder_ / "whole" / "checkpoint_0000008.safetensors"));

  // As kill -9 after step 11 leaves it: the last checkpoint is of step 8, lines go on beyond it, one is cut short.
  fs::create_directories(folder_ / "killed");
  fs::copy_file(folder_ / "whole" / "checkpoint_0000008.safetensors",
                folder_ / "killed" / "checkpoint_0000008.safetensors");
  const std::string lines = test::read_text(folder_ / "whole" / "metrics.json");
  test::write_text(folder_ / "killed" / "metrics.json", lines.substr(0, lines.size() - 40));
  const auto resumed = train("killed", resume);
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("after step 8"), std::string::npos) << resumed.err;
  expect_same_run("whole", "killed");

  // As kill -9 in the last evaluation leaves it, or after its line was written: it is made once more.
  fs::create_directories(folder_ / "late");
  for (const char* name : {"checkpoint_0000012.safetensors", "metrics.json"})
    fs::copy_file(folder_ / "whole" / name, folder_ / "late" / name);
  // What a kill while a checkpoint is written leaves is taken away, and nothing else.
  const std::string unfinished = at("late/.checkpoint_0000012.safetensors.77-0.tmp"),
                    other = at("late/.a.json.77-0.tmp");
  for (const std::string& file : {unfinished, other}) test::write_text(file, "half");
  const auto late = train("late", resume);
  ASSERT_EQ(late.status, 0) << late.err;
  expect_same_run("whole", "late");
  EXPECT_FALSE(fs::exists(unfinished));
  EXPECT_TRUE(fs::exists(other));

  // Real kills at random moments.
  Generator random(12);
  const auto shot =
      test::run_stopped([&](const test::ProcessOptions& options) { return train("shot", resume, options); }, SIGKILL,
                        0.5, 1.5, [&] { fs::remove_all(folder_ / "shot"); }, &random);
  ASSERT_EQ(shot.last.status, 0) << shot.moments << shot.last.err;
  EXPECT_GT(shot.stops, 0);
  SCOPED_TRACE("killed after" + shot.moments);
  expect_same_run("whole", "shot");

  // Changed settings are refused, so is an existing training without --resume.
  fs::remove(folder_ / "shot" / "model_final.safetensors");
  resume.insert(resume.end(), {"--momentum", "0.5"});
  const auto changed = train("shot", resume);
  EXPECT_EQ(changed.status, kBadUsage);
  EXPECT_NE(changed.err.find("settings.momentum"), std::string::npos) << changed.err;
  EXPECT_EQ(train("shot").status, kBadUsage);
}

// The process stops, or is lost, in what comes between two steps: precise batch norms, or the evaluation.
TEST_F(TrainTest, AStopBetweenStepsIsMadeGood) {
  Words words{"--verbose", "--eval-annotations", at("truth.json"), "--eval-image-root", folder_.path().string()};
  for (const auto& [option, value] : {std::pair{"--iterations", "6"},
                                      {"--steps", "5"},
                                      {"--precise-bn", "40"},
                                      {"--precise-bn-every", "2"},
                                      {"--eval-every", "2"},
                                      {"--eval-short-side", "64"}})
    words.insert(words.end(), {option, value});
  const auto whole = train("whole", words);
  ASSERT_EQ(whole.status, 0) << whole.err;
  for (const char* phase : {"statistics of the norms", "evaluation on"}) {
    for (const int signal : {SIGTERM, SIGKILL}) {
      const std::string out = fmt::format("{}{}", phase[0], signal), log = at(out + ".log");
      Words logged{"/bin/sh", "-c", "exec \"$0\" \"$@\" 2> " + log, test::usol_binary()};
      const Words all = arguments(out, words);
      logged.insert(logged.end(), all.begin(), all.end());
      const auto stopped = test::run_process(
          logged, {.meanwhile = [&](pid_t process) {
            const auto begun = [&] { return fs::exists(log) && test::read_text(log).find(phase) != std::string::npos; };
            ASSERT_TRUE(test::wait_until(begun, process));
            kill(process, signal);
          }});
      EXPECT_EQ(stopped.status, 128 + signal) << test::read_text(log);
      if (signal == SIGTERM) {
        EXPECT_NE(test::read_text(log).find("--resume goes on"), std::string::npos) << test::read_text(log);
      }
      Words resume = words;
      resume.push_back("--resume");
      const auto resumed = train(out, resume);
      ASSERT_EQ(resumed.status, 0) << resumed.err;
      EXPECT_EQ(metrics("whole"), metrics(out)) << out;
      EXPECT_EQ(test::read_text(folder_ / "whole" / "model_final.safetensors"),
                test::read_text(folder_ / out / "model_final.safetensors"))
          << out;
    }
  }
}

TEST_F(TrainTest, LossesFall) {
  const auto result =
      train("fit", {"--iterations", "80", "--steps", "70", "--log-every", "10", "--no-copy-paste", "--stages", "1",
                    "--lr", "0.05", "--eval-annotations", at("truth.json"), "--eval-image-root",
                    folder_.path().string(), "--eval-short-side", "64", "--eval-every", "0"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto lines = metrics("fit");
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_LT(lines[7]["total_loss"].get<double>(), 0.75 * lines.front()["total_loss"].get<double>());
  // What comes out is a detector.
  const auto found = test::run_usol({"predict", at("truth.json"), "--image-root", folder_.path().string(), "--weights",
                                     at("fit/model_final.safetensors"), "--out", at("found.json"), "--short-side", "64",
                                     "--score", "0"});
  ASSERT_EQ(found.status, 0) << found.err;
  // The evaluation while training is that of usol predict and usol eval.
  const auto scored = test::run_usol(
      {"eval", "--gt", at("truth.json"), "--pred", at("found.json"), "--class-agnostic", "--out", at("scores.json")});
  ASSERT_EQ(scored.status, 0) << scored.err;
  const Json scores = Json::parse(test::read_text(folder_ / "scores.json"));
  EXPECT_GT(scores["box"]["AR100"].get<double>(), 0);
  for (const char* name : {"AP", "AP50", "AR100"}) {
    EXPECT_NEAR(lines[8][std::string("bbox/") + name].get<double>(), 100 * scores["box"][name].get<double>(), 1e-9);
    EXPECT_NEAR(lines[8][std::string("segm/") + name].get<double>(), 100 * scores["mask"][name].get<double>(), 1e-9);
  }
}

TEST_F(TrainTest, ErrorsNameWhatIsWrong) {
  EXPECT_EQ(test::run_usol({"train", "--out", at("x")}).status, kBadUsage);
  fs::remove(folder_ / "p2.png");
  const auto missing = train("missing");
  EXPECT_EQ(missing.status, kFailure);
  EXPECT_NE(missing.err.find("p2.png"), std::string::npos) << missing.err;
  io::write_png(folder_ / "p2.png", Tensor::full({64, 64, 3}, 40, DType::kU8));
  // An annotation without a mask, and one that is no JSON.
  const std::string truth = test::read_text(folder_ / "truth.json");
  const auto broken = [&](const std::string& from, const std::string& to) {
    std::string text = truth;
    text.replace(text.find(from), from.size(), to);
    test::write_text(folder_ / "truth.json", text);
    return train("broken");
  };
  const auto no_mask = broken("\"segmentation\"", "\"segmentations\"");
  EXPECT_EQ(no_mask.status, kFailure);
  EXPECT_NE(no_mask.err.find("annotations[0]"), std::string::npos) << no_mask.err;
  const auto no_json = broken("\"bbox\":", "\"bbox\"");
  EXPECT_EQ(no_json.status, kFailure);
  EXPECT_NE(no_json.err.find("truth.json"), std::string::npos) << no_json.err;
  test::write_text(folder_ / "truth.json", truth);
  EXPECT_FALSE(fs::exists(folder_ / "broken"));
  // So is a picture that the evaluation misses, before the first step.
  std::string lost = truth;
  lost.replace(lost.find("p1.png"), 6, "p9.png");
  test::write_text(folder_ / "lost.json", lost);
  for (const Words& more : {Words{"--dry-run"}, Words{}}) {
    Words words{"--eval-annotations", at("lost.json"), "--eval-image-root", folder_.path().string()};
    words.insert(words.end(), more.begin(), more.end());
    const auto evaluated = train("lost", words);
    EXPECT_EQ(evaluated.status, kFailure);
    EXPECT_NE(evaluated.err.find("p9.png"), std::string::npos) << evaluated.err;
    EXPECT_FALSE(fs::exists(folder_ / "lost"));
  }
  // And pictures of another size.
  io::write_png(folder_ / "p2.png", Tensor::full({64, 60, 3}, 40, DType::kU8));
  const auto size = train("size", {"--dry-run"});
  EXPECT_EQ(size.status, kFailure);
  EXPECT_NE(size.err.find("p2.png: 64 x 60 pixels (height x width), but its annotations say 64 x 64"),
            std::string::npos)
      << size.err;
  io::write_png(folder_ / "p2.png", Tensor::full({64, 64, 3}, 40, DType::kU8));
  // A disk that is full leaves no half checkpoint.
  const auto full = train("full", {}, {.file_size_limit = 4096});
  EXPECT_EQ(full.status, kFailure) << full.err;
  for (const auto& entry : fs::directory_iterator(folder_ / "full"))
    EXPECT_TRUE(entry.path().filename() == "metrics.json" || entry.path().extension() == ".usol") << entry.path();
}

// Of the paper's detector, whose steps were measured, and not of the small one.
TEST_F(TrainTest, ARehearsalSaysWhatAStepTakesOfTheMemory) {
  EXPECT_EQ(train("out", {"--dry-run"}).err.find("of memory"), std::string::npos);
  test::write_text(folder_ / "small.toml", "[train]\nshort-sides = [64]\n");
  const auto fits = train("out", {"--batch", "1", "--group-size", "1", "--dry-run"});
  EXPECT_EQ(fits.status, 0) << fits.err;
  EXPECT_NE(fits.err.find("a step takes about "), std::string::npos) << fits.err;
  EXPECT_NE(fits.err.find("(1 picture of up to 64 x 64 at once)"), std::string::npos) << fits.err;
  const auto much = train("out", {"--batch", "1000000", "--dry-run"});
  EXPECT_EQ(much.status, 0) << much.err;
  EXPECT_NE(much.err.find("warning: a step takes about "), std::string::npos) << much.err;
  EXPECT_NE(much.err.find("smaller batch, short-sides and long-side"), std::string::npos) << much.err;
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(TrainTest, PicturesThatCannotBeReadAreSkippedCountedAndListed) {
  // One shows it in its header, the other one not before it is decoded.
  fs::remove(folder_ / "p1.png");
  fs::resize_file(folder_ / "p2.png", fs::file_size(folder_ / "p2.png") - 30);
  const auto strict = train("strict");
  EXPECT_EQ(strict.status, kFailure);
  EXPECT_NE(strict.err.find("p1.png"), std::string::npos) << strict.err;
  EXPECT_NE(strict.err.find("most-skipped"), std::string::npos) << strict.err;
  EXPECT_FALSE(fs::exists(folder_ / "strict"));
  const auto too_many = train("too_many", {"--most-skipped", "0.3"});  // the second one is met in training
  EXPECT_EQ(too_many.status, kFailure);
  EXPECT_NE(too_many.err.find("2 of 4 pictures cannot be read"), std::string::npos) << too_many.err;

  const auto whole = train("whole", {"--most-skipped", "0.5", "--workers", "1"});
  ASSERT_EQ(whole.status, kSomeInputsFailed) << whole.err;
  EXPECT_NE(whole.err.find("p2.png"), std::string::npos) << whole.err;
  EXPECT_NE(whole.err.find("2 of 4 pictures could not be read"), std::string::npos) << whole.err;
  const std::string list = test::read_text(folder_ / "whole" / "skipped.txt");
  EXPECT_NE(list.find("p1.png"), std::string::npos) << list;
  EXPECT_NE(list.find("p2.png"), std::string::npos) << list;

  // Neither workers nor an interruption change anything.
  fs::create_directories(folder_ / "resumed");
  fs::copy_file(folder_ / "whole" / "checkpoint_0000008.safetensors",
                folder_ / "resumed" / "checkpoint_0000008.safetensors");
  test::write_text(folder_ / "resumed" / "metrics.json", test::read_text(folder_ / "whole" / "metrics.json"));
  const auto resumed = train("resumed", {"--most-skipped", "0.5", "--workers", "3", "--resume"});
  ASSERT_EQ(resumed.status, kSomeInputsFailed) << resumed.err;
  EXPECT_EQ(metrics("whole"), metrics("resumed"));
  for (const char* name : {"model_final.safetensors", "skipped.txt"})
    EXPECT_EQ(test::read_text(folder_ / "whole" / name), test::read_text(folder_ / "resumed" / name)) << name;
  EXPECT_EQ(train("resumed", {"--most-skipped", "0.5", "--resume"}).status, kSomeInputsFailed);
}

TEST_F(TrainTest, DamagedFilesAreNamedAndOlderOnesTaken) {
  const auto whole = train("whole");
  ASSERT_EQ(whole.status, 0) << whole.err;
  const auto copy = [&](const std::string& out) {
    fs::copy(folder_ / "whole", folder_ / out);
    return folder_ / out;
  };
  const auto flip = [](const fs::path& file) {
    std::string text = test::read_text(file);
    text[text.size() - 100] = static_cast<char>(text[text.size() - 100] ^ 4);
    test::write_text(file, text);
  };
  // The newest checkpoint, and a line of figures.
  const fs::path killed = copy("killed");
  fs::remove(killed / "model_final.safetensors");
  flip(killed / "checkpoint_0000012.safetensors");
  const std::string lines = test::read_text(killed / "metrics.json");
  test::write_text(killed / "metrics.json", lines.substr(0, lines.size() - 20));
  const auto resumed = train("killed", {"--resume"});
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("checkpoint_0000012.safetensors: damaged"), std::string::npos) << resumed.err;
  EXPECT_NE(resumed.err.find("going on after step 8, from " + (killed / "checkpoint_0000008.safetensors").string()),
            std::string::npos)
      << resumed.err;
  EXPECT_NE(resumed.err.find("metrics.json: 1 of its lines was cut short"), std::string::npos) << resumed.err;
  EXPECT_EQ(metrics("whole"), metrics("killed"));
  EXPECT_EQ(test::read_text(folder_ / "whole" / "model_final.safetensors"),
            test::read_text(killed / "model_final.safetensors"));
  // The final model is made anew.
  const fs::path torn = copy("torn");
  fs::resize_file(torn / "model_final.safetensors", 5000);
  const auto again = train("torn", {"--resume"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_NE(again.err.find("model_final.safetensors"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("made anew from the last checkpoint"), std::string::npos) << again.err;
  EXPECT_EQ(test::read_text(folder_ / "whole" / "model_final.safetensors"),
            test::read_text(torn / "model_final.safetensors"));
  // Nothing is left to go on from.
  const fs::path lost = copy("lost");
  fs::remove(lost / "model_final.safetensors");
  for (const char* name : {"checkpoint_0000008.safetensors", "checkpoint_0000012.safetensors"}) flip(lost / name);
  const auto none = train("lost", {"--resume"});
  EXPECT_EQ(none.status, kFailure);
  EXPECT_NE(none.err.find("no checkpoint is whole"), std::string::npos) << none.err;
  EXPECT_NE(none.err.find("train anew"), std::string::npos) << none.err;
}

TEST_F(TrainTest, StartsFromWeights) {
  ASSERT_EQ(train("first", {"--iterations", "2", "--steps", "1"}).status, 0);
  const auto second = train("second", {"--iterations", "1", "--steps", "1", "--weights",
                                       at("first/model_final.safetensors"), "--hidden", "12"});
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_NE(second.err.find("roi_heads.box_head.0.fc1.weight: expected"), std::string::npos) << second.err;
}

TEST_F(TrainTest, StartsFromAnEntryOfTheWeights) {
  ASSERT_EQ(train("first", {"--iterations", "2", "--steps", "1"}).status, 0);
  std::map<std::string, Tensor> wrapped{{"raw.x", Tensor::zeros({1})}};
  for (const auto& [name, tensor] : io::load_safetensors(folder_ / "first/model_final.safetensors"))
    wrapped["ema." + name] = tensor;
  io::save_safetensors(folder_ / "wrapped.safetensors", wrapped);
  const auto start = [&](const std::string& out, const Words& weights) {
    Words words{"--iterations", "1", "--steps", "1"};
    words.insert(words.end(), weights.begin(), weights.end());
    return train(out, words);
  };
  ASSERT_EQ(start("plain", {"--weights", at("first/model_final.safetensors")}).status, 0);
  const auto by_entry = start("entry", {"--weights", at("wrapped.safetensors"), "--entry", "ema."});
  ASSERT_EQ(by_entry.status, 0) << by_entry.err;
  EXPECT_EQ(metrics("plain"), metrics("entry"));
  EXPECT_NE(test::read_text(folder_ / "entry/model_final.safetensors").find("weights_entry"), std::string::npos);
  const auto none = start("none", {"--entry", "ema."});
  EXPECT_EQ(none.status, kBadUsage);
  EXPECT_NE(none.err.find("entry ema.: is for weights"), std::string::npos) << none.err;
}

TEST(TrainConfigs, AreRead) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(test::source_path("configs"))) {
    ++files;
    const auto result = test::run_usol({"train", "--config", entry.path().string(), "--print-config"});
    EXPECT_EQ(result.status, 0) << entry.path() << ": " << result.err;
  }
  EXPECT_GE(files, 3);
  const std::string base = test::source_path("configs/cutler_cascade.toml");
  const auto release = test::run_usol({"train", "--config", base, "--preset", "release", "--print-config"});
  EXPECT_NE(release.out.find("lr = 0.01\n"), std::string::npos) << release.out;
  EXPECT_NE(release.out.find("gamma = 0.02\n"), std::string::npos) << release.out;
  const auto paper = test::run_usol({"train", "--config", base, "--print-config"});
  EXPECT_NE(paper.out.find("lr = 0.005\n"), std::string::npos) << paper.out;
}

}  // namespace
}  // namespace usol::cli
