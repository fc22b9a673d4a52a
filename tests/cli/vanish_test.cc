// Pictures that vanish, and signals that arrive, while a job is at work on its list: every verb that goes through many
// pictures counts the loss, names it, and makes it good with --resume. A named pipe among the pictures holds the reader
// exactly there until the test lets it go.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "cli/verb.h"
#include "io/safetensors.h"
#include "nn/param_store.h"
#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol {
namespace {

struct JobCase {
  std::string verb;
  Words words;
  std::string out, list;  // --out, and the COCO file that it leads to
};

std::string name_of(const testing::TestParamInfo<JobCase>& info) { return info.param.verb; }

// Four pictures; the second is a pipe while the job runs first.
class VanishTest : public testing::TestWithParam<JobCase> {
 protected:
  VanishTest() {
    fs::create_directory(folder_ / "in");
    for (const char* name : {"1.jpg", "3.jpg", "4.jpg"}) put(name);
    EXPECT_EQ(mkfifo(at("in/2.jpg").c_str(), 0600), 0);
    if (GetParam().verb == "predict") {
      StateDict state;
      for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
        if (name.starts_with("cascade/")) state[name.substr(8)] = tensor;
      save_safetensors(folder_ / "detector.safetensors", state);
    }
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string list() const { return at(GetParam().list); }
  std::string journal() const { return test::read_text(list() + ".journal"); }
  void put(const std::string& name) const {
    fs::remove(folder_ / "in" / name);
    fs::copy_file(test::source_path("tests/pictures/chelsea.jpg"), folder_ / "in" / name);
  }
  std::size_t records() const {
    std::size_t count = 0;
    const std::string text = journal();
    for (auto at = text.find("\"record\""); at != std::string::npos; at = text.find("\"record\"", at + 1)) ++count;
    return count;
  }

  test::ProcessResult run(const Words& more, const std::function<void(pid_t)>& meanwhile = {}) const {
    Words words = {GetParam().verb, at("in"), "--threads", "1", "--out", at(GetParam().out)};
    for (const std::string& word : GetParam().words)
      words.push_back(word == "WEIGHTS" ? at("detector.safetensors") : word);
    words.insert(words.end(), more.begin(), more.end());
    return test::run_usol(words, {.directory = folder_.path().string(), .meanwhile = meanwhile});
  }

  // Waits for the first picture's record: the list is read, the second picture is being opened, nothing behind it was.
  void wait_for_first_record(pid_t child) const {
    const auto there = [&] { return fs::exists(list() + ".journal") && records() == 1; };
    while (!there() && running(child)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_TRUE(there());
  }
  // Ends the wait for the second picture, which proves to be no picture.
  void open_pipe(pid_t child) const {
    int pipe = -1;
    while (running(child) && (pipe = open(at("in/2.jpg").c_str(), O_WRONLY | O_NONBLOCK)) < 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (pipe >= 0) close(pipe);
  }
  static bool running(pid_t child) {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }
  // The pipe and what vanished are pictures again: --resume makes the bytes of a run that was never disturbed.
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
};

TEST_P(VanishTest, AVanishedPictureIsAFailureThatResumeMakesGood) {
  const auto result = run({}, [&](pid_t child) {
    wait_for_first_record(child);
    fs::remove(folder_ / "in/3.jpg");
    open_pipe(child);
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
    open_pipe(child);
  });
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.err;
  EXPECT_NE(result.err.find("stopped by signal 15; 1 of 4 images are done"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(list())) << "an output is there only when all are done";
  expect_resume_makes_good(1);
}

const JobCase kJobs[] = {
    {"maskcut", {"--backbone", "colour", "--size", "64", "--no-crf"}, "a.json", "a.json"},
    {"features", {"--backbone", "colour", "--size", "64"}, "f", "f/features.json"},
    {"predict", {"--weights", "WEIGHTS", "--short-side", "64", "--long-side", "96"}, "a.json", "a.json"},
};
INSTANTIATE_TEST_SUITE_P(Verbs, VanishTest, testing::ValuesIn(kJobs), name_of);

}  // namespace
}  // namespace usol
