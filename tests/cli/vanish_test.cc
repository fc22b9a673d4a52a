// Pictures that vanish, and signals that arrive, while a job is at work on its list: every verb that goes through many
// pictures counts the loss, names it, and makes it good with --resume. A file among the pictures that cannot be opened
// yet holds the reader exactly there until the test lets it go. The same where processes share the list, and one of
// them is lost.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "usol/cli/verb.h"
#include "usol/io/safetensors.h"
#include "usol/nn/param_store.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

struct JobCase {
  std::string verb;
  Words words;
  std::string out, list;  // --out, and the COCO file that it leads to
};

std::string name_of(const testing::TestParamInfo<JobCase>& info) { return info.param.verb; }

// Four pictures; the second one is held, and is no picture, while the job runs first.
class VanishTest : public testing::TestWithParam<JobCase> {
 protected:
  VanishTest() {
    fs::create_directory(folder_ / "in");
    for (const char* name : {"1.jpg", "3.jpg", "4.jpg"}) put(name);
    hold("2.jpg");
    if (GetParam().verb == "predict") {
      StateDict state;
      for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
        if (name.starts_with("cascade/")) state[name.substr(8)] = tensor;
      io::save_safetensors(folder_ / "detector.safetensors", state);
    }
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string list() const { return at(GetParam().list); }
  std::string journal(const std::string& part = "") const { return test::read_text(list() + part + ".journal"); }
  void put(const std::string& name) {
    if (name == "2.jpg") held_.reset();
    fs::remove(folder_ / "in" / name);
    fs::copy_file(test::source_path("tests/pictures/chelsea.jpg"), folder_ / "in" / name);
  }
  std::size_t records(const std::string& part = "") const {
    if (!fs::exists(list() + part + ".journal")) return 0;
    std::size_t count = 0;
    std::string text = journal(part);
    text.resize(text.rfind('\n') + 1);  // whole lines
    for (auto at = text.find("\"record\""); at != std::string::npos; at = text.find("\"record\"", at + 1)) ++count;
    return count;
  }

  Words arguments(const Words& more) const {
    Words words = {GetParam().verb, at("in"), "--threads", "1", "--out", at(GetParam().out)};
    for (const std::string& word : GetParam().words)
      words.push_back(word == "WEIGHTS" ? at("detector.safetensors") : word);
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  test::ProcessResult run(const Words& more, const std::function<void(pid_t)>& meanwhile = {},
                          int processes = 1) const {
    return test::run_ranks(processes, arguments(more), {.directory = folder_.path().string(), .meanwhile = meanwhile});
  }

  // Waits for the first picture's record: the list is read, the second picture is being opened, nothing behind it was.
  void wait_for_first_record(pid_t child) const {
    EXPECT_TRUE(test::wait_until([&] { return records() == 1; }, child));
  }
  void hold(const std::string& name) {
    fs::remove(folder_ / "in" / name);
    test::write_text(folder_ / "in" / name, "no picture");
    held_.emplace(folder_ / "in" / name);
    EXPECT_TRUE(held_->held());
  }
  // Ends the wait for the held picture, which proves to be no picture.
  void let_go() { held_.reset(); }
  // The held file and what vanished are pictures again: --resume makes the bytes of a run that was never disturbed.
  void expect_resume_makes_good(std::size_t done_before) {
    put("2.jpg");
    put("3.jpg");
    const auto resumed = run({"--resume"});
    EXPECT_EQ(resumed.status, kSuccess) << resumed.err;
    EXPECT_NE(resumed.err.find(std::to_string(done_before) + " of 4 images were done before"), std::string::npos)
        << resumed.err;
    EXPECT_FALSE(fs::exists(list() + ".journal"));
    const std::string bytes = test::read_text(list());
    ASSERT_EQ(run({"--force"}).status, kSuccess);
    EXPECT_EQ(bytes, test::read_text(list()));
  }

  test::TempDir folder_;
  std::optional<test::HeldFile> held_;
};

TEST_P(VanishTest, AVanishedPictureIsAFailureThatResumeMakesGood) {
  const auto result = run({}, [&](pid_t child) {
    wait_for_first_record(child);
    fs::remove(folder_ / "in/3.jpg");
    let_go();
  });
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_NE(result.err.find("2 of 4 images failed"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("3.jpg: cannot open: No such file"), std::string::npos) << result.err;
  EXPECT_NE(journal().find("3.jpg: cannot open: No such file"), std::string::npos) << journal();
  const auto json = Json::parse(test::read_text(list()));
  EXPECT_EQ(json["images"].size(), 2u);
  EXPECT_EQ(json["info"]["failed"], Json({"2.jpg", "3.jpg"}));
  expect_resume_makes_good(2);
}

TEST_P(VanishTest, TerminationMidRunKeepsWhatIsDone) {
  const auto result = run({}, [&](pid_t child) {
    wait_for_first_record(child);
    kill(child, SIGTERM);
    fs::remove(folder_ / "in/3.jpg");
    let_go();
  });
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.err;
  EXPECT_NE(result.err.find("stopped by signal 15; 1 of 4 images are done"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(list())) << "an output is there only when all are done";
  expect_resume_makes_good(1);
}

// Two processes share the pictures: the first one has 1 and 2, the other one 3 and 4.
class VanishRanksTest : public VanishTest {
 protected:
  void SetUp() override {
    if (const std::string why = test::no_ranks(); !why.empty()) GTEST_SKIP() << why;
  }
  std::size_t journals() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(list()).parent_path()))
      count += entry.path().extension() == ".journal";
    return count;
  }
  // Until the first process waits for the held file, and the other one for the first.
  void wait_for_three_records(pid_t child) const {
    EXPECT_TRUE(test::wait_until([&] { return records(".1of2") == 1 && records(".2of2") == 2; }, child));
  }
  std::string bytes_of_one() {
    EXPECT_EQ(run({"--force"}).status, kSuccess);
    return test::read_text(list());
  }
};

TEST_P(VanishRanksTest, ALostProcessEndsTheJobAndAnyNumberOfThemGoOn) {
  std::string expected;  // the bytes of a run that was never disturbed
  for (const int lost : {0, 1}) {
    const auto killed = run(
        {},
        [&](pid_t child) {
          wait_for_three_records(child);
          EXPECT_TRUE(test::send_signal(test::rank_process(at("in"), lost), SIGKILL));
        },
        2);
    EXPECT_NE(killed.status, kSuccess) << killed.err;
    EXPECT_FALSE(fs::exists(list()));
    put("2.jpg");
    const int later = lost == 0 ? 2 : 1;
    const auto resumed = run({"--resume"}, {}, later);
    EXPECT_EQ(resumed.status, kSuccess) << resumed.err;
    EXPECT_NE(resumed.err.find(later == 2 ? "1 of 2 images were done before" : "3 of 4 images were done before"),
              std::string::npos)
        << resumed.err;
    EXPECT_EQ(journals(), 0u);
    const std::string bytes = test::read_text(list());
    if (expected.empty()) expected = bytes_of_one();
    EXPECT_EQ(bytes, expected);
    fs::remove_all(at(GetParam().out));
    hold("2.jpg");
  }
}

class OneVerbRanksTest : public VanishRanksTest {};

TEST_P(OneVerbRanksTest, FailuresOfAllProcessesAreListedAndMadeGood) {
  put("2.jpg");
  hold("1.jpg");
  // A signal to one process: it finishes the picture in hand, the other one its part.
  const auto stopped = run(
      {},
      [&](pid_t child) {
        EXPECT_TRUE(test::wait_until([&] { return records(".2of2") == 2; }, child));
        EXPECT_TRUE(test::send_signal(test::rank_process(at("in"), 0), SIGUSR1));
        let_go();
      },
      2);
  EXPECT_EQ(stopped.status, 128 + SIGUSR1) << stopped.err;
  EXPECT_NE(stopped.err.find("stopped by signal 10; 2 of 4 images are done"), std::string::npos) << stopped.err;
  EXPECT_FALSE(fs::exists(list()));
  const auto other = run({"--resume", "--tau", "0.3"});
  EXPECT_EQ(other.status, kBadUsage);
  EXPECT_NE(other.err.find("settings.tau: was 0.15, is 0.3"), std::string::npos) << other.err;
  EXPECT_EQ(journals(), 2u) << "nothing is begun with other settings";

  put("1.jpg");
  test::write_text(folder_ / "in/2.jpg", "no picture");
  const auto failed = run({"--resume"}, {}, 2);
  EXPECT_EQ(failed.status, kSomeInputsFailed) << failed.err;
  EXPECT_NE(failed.err.find("1 of 4 images failed"), std::string::npos) << failed.err;
  EXPECT_EQ(failed.err.find("images failed"), failed.err.rfind("images failed")) << "both speak: " << failed.err;
  EXPECT_EQ(Json::parse(test::read_text(list()))["info"]["failed"], Json({"2.jpg"}));
  EXPECT_EQ(journals(), 2u);

  put("2.jpg");
  const auto refused = run({}, {}, 2);
  EXPECT_EQ(refused.status, kBadUsage);
  EXPECT_NE(refused.err.find("--resume goes on with it"), std::string::npos) << refused.err;
  const auto good = run({"--resume"}, {}, 2);
  EXPECT_EQ(good.status, kSuccess) << good.err;
  EXPECT_EQ(journals(), 0u);
  const std::string bytes = test::read_text(list());
  EXPECT_EQ(bytes, bytes_of_one());
  const auto again = run({"--resume"}, {}, 2);
  EXPECT_EQ(again.status, kSuccess);
  EXPECT_NE(again.err.find("is finished already"), std::string::npos) << again.err;
}

TEST_P(OneVerbRanksTest, ASignalToAProcessThatWaitsForTheOthersStopsThem) {
  put("2.jpg");
  hold("3.jpg");
  const auto stopped = run(
      {},
      [&](pid_t child) {
        EXPECT_TRUE(test::wait_until([&] { return records(".1of2") == 2; }, child));
        EXPECT_TRUE(test::send_signal(test::rank_process(at("in"), 0), SIGTERM));
      },
      2);
  EXPECT_EQ(stopped.status, 128 + SIGTERM) << stopped.err;
  EXPECT_NE(stopped.err.find("stopped by signal 15; 2 of 4 images are done"), std::string::npos) << stopped.err;
  put("3.jpg");
  const auto resumed = run({"--resume"}, {}, 2);
  EXPECT_EQ(resumed.status, kSuccess) << resumed.err;
  const std::string bytes = test::read_text(list());
  EXPECT_EQ(bytes, bytes_of_one());
}

TEST_P(OneVerbRanksTest, SharesAreOfMpirunOrOfTheUser) {
  put("2.jpg");
  const auto result = run({"--shard", "1/2"}, {}, 2);
  EXPECT_EQ(result.status, kBadUsage);
  EXPECT_NE(result.err.find("share the work without them"), std::string::npos) << result.err;
}

const JobCase kJobs[] = {
    {"maskcut", {"--backbone", "colour", "--size", "64", "--no-crf"}, "a.json", "a.json"},
    {"features", {"--backbone", "colour", "--size", "64"}, "f", "f/features.json"},
    {"predict", {"--weights", "WEIGHTS", "--short-side", "64", "--long-side", "96"}, "a.json", "a.json"},
};
INSTANTIATE_TEST_SUITE_P(Verbs, VanishTest, testing::ValuesIn(kJobs), name_of);
INSTANTIATE_TEST_SUITE_P(Verbs, VanishRanksTest, testing::ValuesIn(kJobs), name_of);
INSTANTIATE_TEST_SUITE_P(Verbs, OneVerbRanksTest, testing::Values(kJobs[0]), name_of);

}  // namespace
}  // namespace usol::cli
