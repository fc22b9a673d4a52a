// The loop over many pictures, on made-up work: failures, resuming, shards and merging, existing outputs, dry runs.
#include "usol/pipeline/image_job.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/pipeline/batch_pipeline.h"
#include "usol/pipeline/pictures_at_once.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr int kImages = 9;

class ImageJobTest : public testing::Test {
 protected:
  ImageJobTest() {
    for (int i = 0; i < kImages; ++i) test::write_text(folder_ / ("in/" + std::to_string(i) + ".jpg"), "x");
    run_.stop = cli::pending_signal;
  }

  // Each picture i has i % 3 annotations and a file beside the output; those in `broken_` fail.
  ImageJob job(const std::string& output, Shard shard = {}) {
    ImageJob job;
    InputOptions inputs;
    inputs.inputs = {(folder_ / "in").string()};
    job.inputs = inputs.collect();
    job.output = (folder_ / output).string();
    job.info = {{"description", "usol test"}, {"version", "1"}, {"tau", tau_}};
    job.categories = {{1, "fg", "fg"}};
    job.shard = shard;
    job.load = [this](const InputImage& input) -> ImageCompute {
      const int number = std::stoi(input.file_name);
      if (broken_.contains(number) && number % 2 == 0) throw Error(ErrorKind::kIo, "cannot be read");
      return [this, input, number]() -> ImageResult {
        ++computed_;
        if (number == fatal_) throw Error(ErrorKind::kDevice, "device lost");
        if (number == signal_at_) std::raise(signal_);
        if (broken_.contains(number)) throw Error(ErrorKind::kFormat, "odd \"thing\"");
        ImageResult result;
        result.record.image = io::coco_image_json({input.id, 10, 20, input.file_name});
        for (int k = 0; k < number % 3; ++k) {
          io::CocoAnnotation annotation;
          annotation.id = k + 1;
          annotation.image_id = input.id;
          annotation.category_id = 1;
          annotation.score = 1.0 / (number + 2);
          annotation.has_score = true;
          result.record.annotations.push_back(io::coco_annotation_json(annotation, io::Rle{10, 20, {200}}));
        }
        result.saved_bytes = 3;
        result.save = [this, input] { test::write_text(folder_ / ("beside/" + input.file_name), "abc"); };
        return result;
      };
    };
    return job;
  }

  // The same work in batches, its steps on several threads; `fails` may throw at a batch of so many pictures.
  ImageJob batched(const std::string& output, std::int64_t batch, Shard shard = {},
                   const std::function<void(std::size_t)>& fails = {}) {
    ImageJob job = this->job(output, shard);
    BatchWork<ImageCompute> work;
    work.batch = batch;
    work.load = job.load;
    work.worker = [this, batch, fails] {
      ++workers_;
      return [batch, fails, thread = std::this_thread::get_id()](const std::vector<ImageCompute>& pictures) {
        EXPECT_EQ(std::this_thread::get_id(), thread) << "a worker belongs to the thread that asked for it";
        EXPECT_LE(pictures.size(), static_cast<std::size_t>(batch));
        EXPECT_GE(pictures.size(), 1u);
        if (fails) fails(pictures.size());
        std::vector<BatchedPicture> out;
        for (const ImageCompute& picture : pictures) out.push_back({picture, {}});
        return out;
      };
    };
    job.batched = in_batches(std::move(work));
    job.load = nullptr;
    return job;
  }

  int run(ImageJob job) {
    computed_ = 0;
    return run_image_job(run_, job);
  }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  bool exists(const std::string& name) const { return fs::exists(folder_ / name); }

  std::string refusal(ImageJob job, ErrorKind kind = ErrorKind::kUsage) {
    try {
      run(std::move(job));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "no error";
  }

  test::TempDir folder_;
  usol::Run run_;
  double tau_ = 0.15;
  std::set<int> broken_;
  int fatal_ = -1, signal_at_ = -1, signal_ = 0;
  std::atomic<int> computed_ = 0, workers_ = 0;
};

TEST_F(ImageJobTest, WritesTheFileAndNothingElse) {
  EXPECT_EQ(run(job("new/folder/a.json")), kSuccess);
  EXPECT_FALSE(exists("new/folder/a.json.journal"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "beside"), {}), kImages);
  const auto json = Json::parse(text("new/folder/a.json"));
  ASSERT_EQ(json["images"].size(), kImages);
  ASSERT_EQ(json["annotations"].size(), 9u);
  for (std::size_t i = 0; i < kImages; ++i) EXPECT_EQ(json["images"][i]["id"], i + 1);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(json["annotations"][i]["id"], i + 1);
  EXPECT_EQ(json["annotations"][0]["image_id"], 2);
  EXPECT_EQ(json["info"]["tau"], 0.15);
  EXPECT_EQ(json["info"]["inputs"]["images"], kImages);
  EXPECT_FALSE(json["info"].contains("shard"));
  EXPECT_FALSE(json["info"].contains("failed"));
  EXPECT_NE(json["info"]["device"], "");
  EXPECT_EQ(io::read_coco(folder_ / "new/folder/a.json").annotations.size(), 9u);
}

TEST_F(ImageJobTest, FailuresAreCountedListedAndTriedAgain) {
  broken_ = {3, 4};
  EXPECT_EQ(run(job("a.json")), kSomeInputsFailed);
  auto json = Json::parse(text("a.json"));
  EXPECT_EQ(json["images"].size(), 7u);
  EXPECT_EQ(json["info"]["failed"], Json({"3.jpg", "4.jpg"}));
  EXPECT_NE(text("a.json.journal").find("cannot be read"), std::string::npos);
  EXPECT_NE(text("a.json.journal").find("odd \\\"thing\\\""), std::string::npos);
  broken_ = {3};
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(job("a.json")), kSomeInputsFailed);
  EXPECT_EQ(computed_, 2) << "only the failed ones again";
  EXPECT_EQ(Json::parse(text("a.json"))["info"]["failed"], Json({"3.jpg"}));
  broken_ = {};
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_FALSE(exists("a.json.journal"));
  run_.existing = Existing::kRefuse;
  EXPECT_EQ(run(job("b.json")), kSuccess);
  EXPECT_EQ(text("a.json"), text("b.json"));
}

TEST_F(ImageJobTest, ExistingOutputsNeedResumeOrForce) {
  EXPECT_EQ(run(job("a.json")), kSuccess);
  const std::string first = text("a.json");
  EXPECT_NE(refusal(job("a.json"), ErrorKind::kExists).find("a.json exists"), std::string::npos);
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_EQ(computed_, 0) << "finished already";
  tau_ = 0.2;
  EXPECT_NE(refusal(job("a.json"), ErrorKind::kOtherSettings).find("tau: was 0.15, is 0.2"), std::string::npos);
  run_.existing = Existing::kReplace;
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_EQ(computed_, kImages);
  EXPECT_NE(text("a.json"), first);
}

TEST_F(ImageJobTest, AJournalIsContinuedOnlyWithTheSameSettingsAndInputs) {
  fatal_ = 6;
  EXPECT_THROW(run(job("a.json")), Error);
  EXPECT_FALSE(exists("a.json"));
  fatal_ = -1;
  EXPECT_NE(refusal(job("a.json"), ErrorKind::kExists).find("a.json.journal exists"), std::string::npos);
  run_.existing = Existing::kContinue;
  tau_ = 0.3;
  EXPECT_NE(refusal(job("a.json"), ErrorKind::kOtherSettings).find("tau: was 0.15, is 0.3"), std::string::npos);
  tau_ = 0.15;
  test::write_text(folder_ / "in/new.jpg", "x");
  EXPECT_NE(refusal(job("a.json"), ErrorKind::kOtherSettings).find("inputs.images: was 9, is 10"), std::string::npos);
  fs::remove(folder_ / "in/new.jpg");
  EXPECT_NE(refusal(job("a.json", {1, 2}), ErrorKind::kOtherSettings).find("shard: was absent"), std::string::npos);
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_EQ(computed_, 3);
  EXPECT_EQ(run(job("b.json")), kSuccess);
  EXPECT_EQ(text("a.json"), text("b.json"));
}

TEST_F(ImageJobTest, ShardsMergeToTheBytesOfOneRun) {
  broken_ = {2};
  EXPECT_EQ(run(job("whole.json")), kSomeInputsFailed);
  for (const int count : {1, 2, 4, 12}) {
    std::vector<std::string> command = {"merge"};
    for (int k = count; k >= 1; --k) {
      const std::string name = "part" + std::to_string(k) + "of" + std::to_string(count) + ".json";
      run(job(name, {k, count}));
      command.push_back((folder_ / name).string());
    }
    const std::string merged = (folder_ / ("merged" + std::to_string(count) + ".json")).string();
    command.insert(command.end(), {"--out", merged});
    const auto result = test::run_usol(command);
    if (count == 1) {
      EXPECT_EQ(result.status, cli::kBadUsage) << "one of one is no shard";
      continue;
    }
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(test::read_text(merged), text("whole.json")) << count;
  }
  const auto merge = [&](std::vector<std::string> names) {
    std::vector<std::string> command = {"merge", "--out", (folder_ / "x.json").string()};
    for (const auto& name : names) command.push_back((folder_ / name).string());
    const auto result = test::run_usol(command);
    EXPECT_EQ(result.status, cli::kBadUsage) << result.err;
    EXPECT_FALSE(exists("x.json"));
    return result.err;
  };
  EXPECT_NE(merge({"part1of4.json", "part4of4.json"}).find("missing: 2/4, 3/4"), std::string::npos);
  EXPECT_NE(merge({"part1of2.json", "part1of2.json"}).find("a second time"), std::string::npos);
  EXPECT_NE(merge({"part1of2.json", "part2of4.json"}).find("one of 4"), std::string::npos);
  EXPECT_NE(merge({"part1of2.json", "absent.json"}).find("no such file"), std::string::npos);
  EXPECT_NE(merge({}).find("no input"), std::string::npos);
  tau_ = 0.4;
  run(job("other.json", {2, 2}));
  EXPECT_NE(merge({"part1of2.json", "other.json"}).find("tau: was 0.15, is 0.4"), std::string::npos);
}

TEST_F(ImageJobTest, SignalsAndKillsLeaveARunThatResumesToTheSameBytes) {
  EXPECT_EQ(run(job("whole.json")), kSuccess);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGKILL}) {
    for (signal_at_ = 0; signal_at_ < kImages; signal_at_ += 4) {
      signal_ = number;
      run_.existing = Existing::kRefuse;
      const auto child = [&] {
        cli::install_signal_handlers();
        std::_Exit(run(job("a.json")));
      };
      if (number == SIGKILL) {
        EXPECT_EXIT(child(), testing::KilledBySignal(SIGKILL), "");
      } else if (signal_at_ == kImages - 1) {
        EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");  // nothing was left to stop
      } else {
        EXPECT_EXIT(child(), testing::ExitedWithCode(128 + number), "");
      }
      const int last = std::exchange(signal_at_, -1);
      run_.existing = Existing::kContinue;
      EXPECT_EQ(run(job("a.json")), kSuccess);
      EXPECT_EQ(text("a.json"), text("whole.json")) << number << " at " << last;
      EXPECT_FALSE(exists("a.json.journal"));
      fs::remove(folder_ / "a.json");
      signal_at_ = last;
    }
  }
}

TEST_F(ImageJobTest, BatchesGiveTheSameBytes) {
  broken_ = {3, 4};
  ASSERT_EQ(run(job("a.json")), kSomeInputsFailed);
  const std::string journal = text("a.json.journal");
  for (const std::int64_t batch : {1, 2, 4, 9, 100}) {
    const std::string name = "b" + std::to_string(batch) + ".json";
    EXPECT_EQ(run(batched(name, batch)), kSomeInputsFailed);
    EXPECT_EQ(text(name), text("a.json"));
    EXPECT_EQ(text(name + ".journal"), journal) << "records are written in the order of inputs";
  }
  broken_ = {};
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(batched("b4.json", 4)), kSuccess);
  EXPECT_EQ(computed_, 2) << "only the failed ones again";
  EXPECT_EQ(run(batched("new.json", 3)), kSuccess);
  EXPECT_EQ(text("b4.json"), text("new.json"));
}

TEST_F(ImageJobTest, ABatchThatFailsIsTheFailureOfItsPictures) {
  const ImageJob of_few = batched("a.json", 4, {}, [](std::size_t pictures) {
    if (pictures < 4) throw Error(ErrorKind::kFormat, "a batch of fewer");
  });
  EXPECT_EQ(run(of_few), kSomeInputsFailed);  // nine pictures: two full batches and one of one
  EXPECT_EQ(Json::parse(text("a.json"))["info"]["failed"], Json::array({"8.jpg"}));
  EXPECT_EQ(workers_, 2) << "two batches at once";
  EXPECT_THROW(run(batched("b.json", 4, {}, [](std::size_t) { throw Error(ErrorKind::kDevice, "device lost"); })),
               Error);
  try {
    run(batched("c.json", 4, {}, [](std::size_t) { throw Error(ErrorKind::kOutOfMemory, "no memory"); }));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no memory; a smaller batch than 4"), std::string::npos) << error.what();
  }
}

// Pictures that are little work, three at a time.
class AtOnceTest : public ImageJobTest {
 protected:
  AtOnceTest() { set_thread_count(3); }
  ~AtOnceTest() override { set_thread_count(0); }

  ImageJob at_once(const std::string& output, const PictureCost& cost = {}) {
    ImageJob job = this->job(output);
    job.cost = cost;
    job.load = [this, load = job.load](const InputImage& input) -> ImageCompute {
      return [this, compute = load(input)] {
        const int now = ++in_work_;
        int most = most_in_work_;
        while (now > most && !most_in_work_.compare_exchange_weak(most, now)) {
        }
        // As many as there are to be get the time to come.
        for (int i = 0; i < 200 && in_work_ < wanted_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        --in_work_;
        return compute();
      };
    };
    return job;
  }

  std::atomic<int> in_work_ = 0, most_in_work_ = 0;
  int wanted_ = 1;
};

TEST_F(AtOnceTest, TheBytesAreThoseOfOneAfterTheOther) {
  broken_ = {3, 4};
  ASSERT_EQ(run(job("a.json")), kSomeInputsFailed);
  wanted_ = 3;
  ASSERT_EQ(run(at_once("b.json")), kSomeInputsFailed);
  EXPECT_EQ(most_in_work_, 3);
  EXPECT_EQ(text("b.json"), text("a.json"));
  EXPECT_EQ(text("b.json.journal"), text("a.json.journal")) << "records are written in the order of inputs";
  broken_ = {};
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(at_once("b.json")), kSuccess);
  EXPECT_EQ(computed_, 2) << "only the failed ones again";
}

TEST_F(AtOnceTest, PicturesOfANewRunBeginWhileItsInfoIsCompleted) {
  ASSERT_EQ(run(job("whole.json")), kSuccess);
  for (const double flops : {1.0, 1e12}) {  // three at a time, and one
    fs::remove_all(folder_ / "beside");
    ImageJob early = at_once("a.json", {.flops = flops});
    early.info.erase("tau");
    early.complete_info = [this](Json& info) {
      for (int i = 0; i < 2000 && computed_ == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_GT(computed_, 0);
      EXPECT_FALSE(exists("beside")) << "nothing is saved before the journal is there";
      EXPECT_FALSE(exists("a.json.journal"));
      info["tau"] = tau_;
    };
    EXPECT_EQ(run(early), kSuccess);
    EXPECT_EQ(text("a.json"), text("whole.json"));
    run_.existing = Existing::kReplace;
  }
}

TEST_F(AtOnceTest, ARunThatGoesOnIsComparedBeforeItBegins) {
  broken_ = {3};
  ASSERT_EQ(run(at_once("a.json")), kSomeInputsFailed);
  run_.existing = Existing::kContinue;
  ImageJob other = at_once("a.json");
  other.complete_info = [](Json& info) { info["tau"] = 0.5; };
  EXPECT_NE(refusal(other, ErrorKind::kOtherSettings).find("tau: was 0.15, is 0.5"), std::string::npos);
  EXPECT_EQ(computed_, 0);
}

TEST_F(AtOnceTest, SizeAndMemoryDecideHowMany) {
  wanted_ = 2;
  EXPECT_EQ(run(at_once("large.json", {.flops = 1e12})), kSuccess);
  EXPECT_EQ(most_in_work_, 1);
  EXPECT_EQ(run(at_once("wide.json", {.bytes = 0.9 * memory_for_pictures()})), kSuccess);
  EXPECT_EQ(most_in_work_, 1);
  most_in_work_ = 0;
  EXPECT_EQ(run(at_once("some.json", {.bytes = 0.4 * memory_for_pictures()})), kSuccess);
  EXPECT_EQ(most_in_work_, 2);
  EXPECT_EQ(text("wide.json"), text("large.json"));
}

TEST_F(AtOnceTest, AStoppedRunResumesToTheSameBytes) {
  ASSERT_EQ(run(job("whole.json")), kSuccess);
  signal_ = SIGTERM;
  signal_at_ = 2;
  EXPECT_EXIT(
      {
        cli::install_signal_handlers();
        std::_Exit(run(at_once("a.json")));
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
  signal_at_ = -1;
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(at_once("a.json")), kSuccess);
  EXPECT_EQ(text("a.json"), text("whole.json"));
}

TEST_F(AtOnceTest, WhatConcernsEveryPictureEndsTheRun) {
  fatal_ = 4;
  EXPECT_THROW(run(at_once("a.json")), Error);
  EXPECT_FALSE(exists("a.json"));
}

TEST_F(ImageJobTest, ANameThatIsNotUtf8IsThatPicturesFailure) {
  test::write_text(folder_ / "in/8\xff.jpg", "x");
  const auto log = std::make_shared<test::KeptLog>();
  run_.log = log;
  EXPECT_EQ(run(job("a.json")), kSomeInputsFailed);
  EXPECT_EQ(computed_, kImages);  // it is not read
  const auto json = Json::parse(text("a.json"));
  EXPECT_EQ(json["images"].size(), kImages);
  EXPECT_EQ(json["info"]["failed"], Json({"8\\xff.jpg"}));
  EXPECT_NE(log->text().find("  8\\xff.jpg: its name is not UTF-8, and annotations (JSON) cannot hold it: rename it"),
            std::string::npos)
      << log->text();
  EXPECT_EQ(run(batched("b.json", 4)), kSomeInputsFailed);
  EXPECT_NE(log->text().find("its name is not UTF-8", log->text().find("b.json")), std::string::npos) << log->text();
  EXPECT_EQ(Json::parse(text("b.json"))["info"]["failed"], json["info"]["failed"]);
}

TEST_F(ImageJobTest, LeftoversOfAKilledAssemblyAreRemovedAndAFolderIsNoOutput) {
  test::write_text(folder_ / ".a.json.123-0.tmp", "unfinished");
  test::write_text(folder_ / ".b.json.123-0.tmp", "another's");
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_FALSE(exists(".a.json.123-0.tmp"));
  EXPECT_TRUE(exists(".b.json.123-0.tmp"));
  fs::create_directory(folder_ / "d");
  run_.existing = Existing::kReplace;
  EXPECT_NE(refusal(job("d")).find("is a folder"), std::string::npos);
}

TEST_F(ImageJobTest, AKillThatLeftSomeJournalsOfAFinishedRunLosesNothing) {
  EXPECT_EQ(run(job("a.json")), kSuccess);
  const std::string whole = text("a.json");
  for (const char* name : {"a.json.journal", "a.json.2of3.journal"})
    test::write_text(folder_ / name, "{\"usol_journal\":1,");
  test::write_text(folder_ / "a.json.4of3.journal", "not ours");
  run_.existing = Existing::kContinue;
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_EQ(computed_, 0);
  EXPECT_EQ(text("a.json"), whole);
  EXPECT_FALSE(exists("a.json.journal") || exists("a.json.2of3.journal"));
  EXPECT_TRUE(exists("a.json.4of3.journal"));
}

TEST_F(ImageJobTest, ADryRunWritesNothing) {
  run_.dry_run = true;
  EXPECT_EQ(run(job("a.json")), kSuccess);
  EXPECT_GT(computed_, 0);
  EXPECT_LT(computed_, kImages);
  EXPECT_FALSE(exists("a.json") || exists("a.json.journal") || exists("beside"));
}

}  // namespace
}  // namespace usol
