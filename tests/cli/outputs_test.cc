// What may be written where, for every verb that writes: each kind of destination, with the outcome that is due. Files
// of the user's are never lost: neither what is read, nor what lies in the way.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/run_here.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "usol/cli/verb.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/safetensors.h"
#include "usol/nn/param_store.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;
using testing::HasSubstr;

namespace usol::cli {
namespace {

const Words kColour = {"--backbone", "colour", "--size", "32", "--threads", "1"};
const Words kDetector = {"--weights", "detector.safetensors", "--short-side", "32", "--long-side", "48", "--threads",
                         "1"};
const Words kLost = {"--method", "bisecting-kmeans"};

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A folder with two pictures, a truth, predictions and a detector.
class OutputsTest : public testing::Test {
 protected:
  OutputsTest() {
    fs::create_directory(folder_ / "in");
    int shade = 60;
    for (const char* name : {"a.jpg", "b.jpg"}) {
      Tensor picture = Tensor::full({24, 36, 3}, shade, DType::kU8);
      picture.slice(0, 6, 18).slice(1, 9, 27).fill(255 - shade);
      test::write_text(folder_ / "in" / name, text_of(io::encode_jpeg(picture, 95)));
      shade += 20;
    }
    const Json square = {{5, 5, 20, 5, 20, 20, 5, 20}};
    Json truth = {
        {"images", Json::array()}, {"annotations", Json::array()}, {"categories", {{{"id", 1}, {"name", "fg"}}}}};
    for (const int id : {1, 2}) {
      const std::string name = id == 1 ? "a.jpg" : "b.jpg";
      truth["images"].push_back({{"id", id}, {"file_name", name}, {"height", 24}, {"width", 36}});
      truth["annotations"].push_back({{"id", id},
                                      {"image_id", id},
                                      {"category_id", 1},
                                      {"bbox", {5, 5, 15, 15}},
                                      {"area", 225},
                                      {"iscrowd", 0},
                                      {"segmentation", square}});
    }
    test::write_text(folder_ / "truth.json", truth.dump());
    for (Json& annotation : truth["annotations"]) annotation["score"] = 0.9;
    test::write_text(folder_ / "found.json", truth.dump());
    test::write_text(folder_ / "detector.safetensors", detector());
  }

  // The bytes of a small detector, made once: all tests here have the same.
  static const std::string& detector() {
    static const std::string bytes = [] {
      StateDict state;
      for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
        if (name.starts_with("cascade/")) state[name.substr(8)] = tensor;
      const test::TempDir folder;
      io::save_safetensors(folder / "detector.safetensors", state);
      return test::read_text(folder / "detector.safetensors");
    }();
    return bytes;
  }

  static std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  void write(const std::string& name, const std::string& content = "mine\n") const {
    test::write_text(folder_ / name, content);
  }
  bool is_link(const std::string& name) const { return fs::is_symlink(folder_ / name); }
  test::ProcessResult run(const Words& words, test::ProcessOptions options = {}) const {
    options.directory = folder_.path().string();
    options.environment["OMP_THREAD_LIMIT"] = "1";  // the pictures are tiny
    return test::run_usol(words, options);
  }
  test::ProcessResult run_here(Words words) const {
    if (std::find(words.begin(), words.end(), "--threads") == words.end())
      words.insert(words.end(), {"--threads", "1"});  // the pictures are tiny
    return test::run_here(words, folder_.path().string());
  }
  // Refused as bad usage before any work, with the file's name.
  void expect_refused(const Words& words, const std::string& part) const {
    const auto result = run_here(words);
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
  }
  void expect_done(const Words& words) const {
    const auto result = run_here(words);
    EXPECT_EQ(result.status, kSuccess) << result.err;
  }
  // What is the user's, by name.
  std::map<std::string, std::string> users_files() const {
    std::map<std::string, std::string> files;
    for (const char* name : {"in/a.jpg", "in/b.jpg", "truth.json", "found.json", "detector.safetensors"})
      files[name] = text(name);
    return files;
  }

  test::TempDir folder_;
};

// ---- verbs that write one file ----

struct FileVerb {
  std::string name;
  Words words;            // OUT is the file
  std::string input;      // a file that it reads
  std::string extension;  // of OUT
  bool same_bytes = true;
};

class OneFileTest : public OutputsTest, public testing::WithParamInterface<FileVerb> {
 protected:
  OneFileTest() : before_(users_files()) {}
  ~OneFileTest() override { EXPECT_TRUE(users_files() == before_) << "a file of the user's has changed"; }

  Words to(const std::string& out, const Words& more = {}) const {
    Words words = GetParam().words;
    for (std::string& word : words)
      if (word == "OUT") word = out;
    // Other outputs of the same command, if there are any, are new each time.
    for (std::string& word : words)
      if (word == "OTHER") word = "other" + std::to_string(++others_) + ".json";
    return words + more;
  }
  std::string named(const std::string& stem) const { return stem + GetParam().extension; }
  // The bytes that are due in a file with this extension; "" if they differ from run to run. All tests have the same
  // inputs, so each is made once.
  std::string expected(const std::string& extension) {
    if (!GetParam().same_bytes) return "";
    static std::map<std::string, std::string> made;
    std::string& bytes = made[GetParam().name + extension];
    if (bytes.empty()) {
      expect_done(to("expected" + extension));
      bytes = text("expected" + extension);
    }
    return bytes;
  }
  // `out` is the name that it was written to: where that has no extension, weights are safetensors.
  void expect_is_output(const std::string& content, const std::string& out = "") {
    const bool plain = !out.empty() && !fs::path(out).has_extension() && GetParam().extension == ".pth";
    const std::string wanted = expected(plain ? ".safetensors" : GetParam().extension);
    if (wanted.empty()) {
      EXPECT_GT(content.size(), 10u);
    } else {
      EXPECT_TRUE(content == wanted) << content.substr(0, 200);
    }
  }

  std::map<std::string, std::string> before_;
  mutable int others_ = 0;
};

TEST_P(OneFileTest, ANewFileAlsoInAFolderThatIsMissing) {
  expect_done(to(named("new")));
  expect_is_output(text(named("new")));
  expect_done(to(named("missing/folder/new")));
  expect_is_output(text(named("missing/folder/new")));
}

TEST_P(OneFileTest, AFileOfUsolIsReplacedWithForceOnly) {
  const std::string out = named("out");
  expect_done(to(out));
  const std::string first = text(out);
  expect_refused(to(out), out + " exists; --force replaces it");
  EXPECT_EQ(text(out), first);
  expect_done(to(out, {"--force"}));
  expect_is_output(text(out));
  write(out, "");  // nothing to lose
  expect_done(to(out, {"--force"}));
  expect_is_output(text(out));
}

TEST_P(OneFileTest, AForeignFileStays) {
  for (const std::string content : {"mine\n", "{\"a\": 1}", "PK\x03\x04", "<!DOCTYPE html>\n<p>mine"}) {
    write(named("out"), content);
    for (const Words& more : {Words{}, Words{"--force"}}) {
      expect_refused(to(named("out"), more), named("out") + " exists and was not written by usol");
      EXPECT_EQ(text(named("out")), content);
    }
  }
}

TEST_P(OneFileTest, AnOutputIsNeverAnInput) {
  const std::string input = GetParam().input;
  const std::string extension = fs::path(input).extension().string();
  // A name that the verb would take: the input itself may have another extension.
  const std::string hard = named("hard"), soft = named("soft"), far = named("far");
  fs::create_hard_link(folder_ / input, folder_ / hard);
  fs::create_symlink(input, folder_ / soft);
  fs::create_symlink(soft, folder_ / far);
  fs::create_directory_symlink(fs::path(input).parent_path().empty() ? "." : fs::path(input).parent_path(),
                               folder_ / "door");
  Words names = {hard, soft, far};
  if (extension == GetParam().extension || GetParam().extension == ".json")
    for (const std::string& name : {input, "./" + input, at(input), "door/" + fs::path(input).filename().string()})
      names.push_back(name);
  for (const std::string& name : names)
    for (const Words& more : {Words{}, Words{"--force"}}) expect_refused(to(name, more), "is an input of this run");
}

TEST_P(OneFileTest, LinksAreWrittenThrough) {
  fs::create_directories(folder_ / "elsewhere");
  const std::string target = named("elsewhere/target"), link = named("link");
  fs::create_symlink(target, folder_ / link);
  expect_done(to(link));  // it leads to nothing yet
  EXPECT_TRUE(is_link(link));
  expect_is_output(text(target));
  write(target, "{}");
  expect_done(to(link, {"--force"}));
  EXPECT_TRUE(is_link(link));
  expect_is_output(text(target));
  write(target);
  expect_refused(to(link, {"--force"}), "was not written by usol");
  EXPECT_TRUE(is_link(link));
  EXPECT_EQ(text(target), "mine\n");
}

TEST_P(OneFileTest, TheStandardOutputIsWrittenTo) {
  fs::create_symlink("/proc/self/fd/1", folder_ / named("stdout"));
  for (const std::string& out : {std::string("-"), std::string("/dev/stdout"), std::string("/proc/self/fd/1"),
                                 std::string("/dev/fd/1"), named("stdout")}) {
    const auto result = run(to(out, {"--force"}));
    EXPECT_EQ(result.status, kSuccess) << result.err;
    expect_is_output(result.out, out);
  }
  EXPECT_TRUE(is_link(named("stdout")));
  EXPECT_FALSE(fs::exists(folder_ / "-"));
}

TEST_P(OneFileTest, ARedirectedOutputKeepsWhatIsBeforeIt) {
  const auto result = test::run_process(
      Words{"/bin/sh", "-c", R"(printf before > captured; exec "$0" "$@" >> captured)", test::usol_binary()} +
          to("/dev/stdout", {"--force"}),
      {.directory = folder_.path().string()});
  EXPECT_EQ(result.status, kSuccess) << result.err;
  ASSERT_EQ(text("captured").substr(0, 6), "before");
  expect_is_output(text("captured").substr(6), "/dev/stdout");
}

TEST_P(OneFileTest, DevicesAreWrittenToAndStay) {
  if (mknod(at("null").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) GTEST_SKIP() << "only root can make a device";
  const std::string name = named("null");
  fs::rename(folder_ / "null", folder_ / name);
  for (const Words& more : {Words{}, Words{"--force"}}) {
    expect_done(to(name, more));
    EXPECT_TRUE(fs::is_character_file(folder_ / name));
  }
}

TEST_P(OneFileTest, PipesAreWrittenToAndStay) {
  const std::string name = named("pipe");
  ASSERT_EQ(mkfifo(at(name).c_str(), 0600), 0);
  for (const Words& more : {Words{}, Words{"--force"}}) {
    std::string content;
    std::thread reader([&] { content = text(name); });
    expect_done(to(name, more));
    if (!fs::is_fifo(folder_ / name)) ADD_FAILURE() << "the pipe was replaced";
    // Ends the reader's wait if nothing was written.
    close(open(at(name).c_str(), O_WRONLY | O_NONBLOCK));
    reader.join();
    expect_is_output(content);
  }
}

TEST_P(OneFileTest, ASignalEndsTheWaitForAReader) {
  const std::string name = named("pipe");
  ASSERT_EQ(mkfifo(at(name).c_str(), 0600), 0);
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto result =
        run(to(name), {.meanwhile = [&](pid_t process) {
              EXPECT_TRUE(test::wait_until([&] { return test::waits_for_a_signal(process, signal); }, process));
              kill(process, signal);
            }});
    EXPECT_EQ(result.status, 128 + signal) << result.err;
  }
}

TEST_P(OneFileTest, FoldersAndPlacesThatAreNoneAreRefused) {
  fs::create_directory(folder_ / named("folder"));
  write("file");
  expect_refused(to(named("folder"), {"--force"}), "is a folder");
  expect_refused(to(named("new") + "/", {"--force"}), "is a folder");
  expect_refused(to(named("file/out"), {"--force"}), "is no folder");
  EXPECT_EQ(text("file"), "mine\n");
}

const FileVerb kFileVerbs[] = {
    {"maskcut", Words{"maskcut", "in", "--no-crf", "--out", "OUT"} + kColour, "in/a.jpg", ".json"},
    {"maskcut_times", Words{"maskcut", "in", "--no-crf", "--out", "OTHER", "--times", "OUT"} + kColour, "in/a.jpg",
     ".json", false},
    {"discover", Words{"discover", "in", "--out", "OUT"} + kLost + kColour, "in/b.jpg", ".json"},
    {"predict", Words{"predict", "in", "--out", "OUT"} + kDetector, "detector.safetensors", ".json"},
    {"merge",
     {"merge", "--self-training", "--previous", "truth.json", "--predictions", "found.json", "--out", "OUT"},
     "found.json",
     ".json"},
    {"weights", {"weights", "detector.safetensors", "--out", "OUT"}, "detector.safetensors", ".safetensors"},
    {"weights_pth", {"weights", "detector.safetensors", "--out", "OUT"}, "detector.safetensors", ".pth"},
    {"eval", {"eval", "--gt", "truth.json", "--pred", "found.json", "--out", "OUT"}, "truth.json", ".json"},
    {"eval_curves",
     {"eval", "--gt", "truth.json", "--pred", "found.json", "--out", "OTHER", "--curves", "OUT"},
     "found.json",
     ".safetensors"},
    {"report", {"report", "found.json", "--annotations", "truth.json", "--out", "OUT"}, "found.json", ".html"},
    {"gt", {"gt", "truth.json", "--out", "OUT"}, "truth.json", ".json"},
};

std::string name_of_file_verb(const testing::TestParamInfo<FileVerb>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Verbs, OneFileTest, testing::ValuesIn(kFileVerbs), name_of_file_verb);

// ---- verbs that write a file for each picture ----

struct FolderVerb {
  std::string name;
  Words words;       // OUT is the folder
  std::string file;  // of the first picture
};

class ManyFilesTest : public OutputsTest, public testing::WithParamInterface<FolderVerb> {
 protected:
  ManyFilesTest() : before_(users_files()) {}
  ~ManyFilesTest() override { EXPECT_TRUE(users_files() == before_) << "a file of the user's has changed"; }
  Words to(const std::string& out, const Words& more = {}) const {
    Words words = GetParam().words;
    for (std::string& word : words) {
      if (word == "OUT") word = out;
      if (word == "OTHER") word = "other" + std::to_string(++others_) + ".json";
    }
    return words + more;
  }
  std::string file(const std::string& folder) const { return folder + "/" + GetParam().file; }

  std::map<std::string, std::string> before_;
  mutable int others_ = 0;
};

TEST_P(ManyFilesTest, ItsOwnFilesAreReplacedWithForceOnly) {
  expect_done(to("out"));
  const std::string content = text(file("out"));
  expect_refused(to("out"), "--force");
  expect_done(to("out", {"--force"}));
  EXPECT_EQ(text(file("out")), content);
  // A copy of the folder is still known; one without its list is not, but for what says itself whose it is.
  fs::copy(folder_ / "out", folder_ / "copy", fs::copy_options::recursive);
  expect_done(to("copy", {"--force"}));
}

TEST_P(ManyFilesTest, AForeignFileInTheWayStaysAndOthersBesideItToo) {
  write(file("out"));
  write("out/notes.txt", "notes");
  for (const Words& more : {Words{}, Words{"--force"}, Words{"--dry-run"}}) {
    const auto result = run_here(to("out", more));
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(GetParam().file));
    EXPECT_EQ(text(file("out")), "mine\n");
  }
  fs::remove(folder_ / file("out"));
  expect_done(to("out", {"--force"}));
  EXPECT_EQ(text("out/notes.txt"), "notes");
}

TEST_P(ManyFilesTest, AFileThatTheUserPutInPlaceOfOursStays) {
  expect_done(to("out"));
  write(file("out"), "mine, of another size than before");
  expect_refused(to("out", {"--force"}), GetParam().file);
  EXPECT_EQ(text(file("out")), "mine, of another size than before");
}

TEST_P(ManyFilesTest, NoPictureIsOverwritten) {
  fs::create_directory_symlink("in", folder_ / "door");
  fs::create_directories((folder_ / file("hard")).parent_path());
  fs::create_hard_link(folder_ / "in/a.jpg", folder_ / file("hard"));
  fs::create_directories((folder_ / file("soft")).parent_path());
  fs::create_symlink(folder_ / "in/a.jpg", folder_ / file("soft"));
  Words folders = {"hard", "soft"};
  if (GetParam().file == "a.jpg") folders = folders + Words{"in", "door", "in/../in", at("in")};
  for (const std::string& folder : folders)
    for (const Words& more : {Words{}, Words{"--force"}}) expect_refused(to(folder, more), GetParam().file);
}

TEST_P(ManyFilesTest, AFileIsNoFolder) {
  write("out");
  expect_refused(to("out", {"--force"}), "is no folder");
  EXPECT_EQ(text("out"), "mine\n");
}

const FolderVerb kFolderVerbs[] = {
    {"maskcut_overlays", Words{"maskcut", "in", "--no-crf", "--out", "OTHER", "--overlays", "OUT"} + kColour, "a.jpg"},
    {"discover_overlays", Words{"discover", "in", "--out", "OTHER", "--overlays", "OUT"} + kLost + kColour, "a.jpg"},
    {"predict_overlays", Words{"predict", "in", "--out", "OTHER", "--overlays", "OUT"} + kDetector, "a.jpg"},
    {"features", Words{"features", "in", "--out", "OUT"} + kColour, "a.safetensors"},
    {"run", Words{"run", "in", "--no-crf", "--out", "OUT"} + kColour, "overlays/a.jpg"},
    {"gt_png", {"gt", "truth.json", "--to", "png", "--out", "OUT"}, "a.png"},
    {"gt_voc", {"gt", "truth.json", "--to", "voc", "--out", "OUT"}, "a.xml"},
    {"gt_yolo", {"gt", "truth.json", "--to", "yolo", "--out", "OUT"}, "a.txt"},
};
std::string name_of_folder_verb(const testing::TestParamInfo<FolderVerb>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Verbs, ManyFilesTest, testing::ValuesIn(kFolderVerbs), name_of_folder_verb);

// ---- what does not fit a table ----

TEST_F(OutputsTest, RunIntoItsOwnPicturesTakesNoneOfItsOverlays) {
  const Words words = Words{"run", "in", "--no-crf", "--out", "in"} + kColour;
  expect_done(words);
  ASSERT_TRUE(fs::exists(folder_ / "in/overlays/a.jpg"));
  const Json first = Json::parse(text("in/masks.json"));
  const auto again = run(words + Words{"--force", "-v"});
  EXPECT_EQ(again.status, kSuccess) << again.err;
  EXPECT_THAT(again.err, HasSubstr("2 pictures that usol wrote itself were left out"));
  EXPECT_EQ(Json::parse(text("in/masks.json")), first);
  EXPECT_EQ(first["images"].size(), 2u);
  // By a pattern, too; but a picture that is named is taken.
  expect_done(Words{"maskcut", "in/*", "--no-crf", "--out", "p.json"} + kColour);
  EXPECT_EQ(Json::parse(text("p.json"))["images"].size(), 2u);
  expect_done(Words{"maskcut", "in/overlays/a.jpg", "--no-crf", "--out", "q.json"} + kColour);
  expect_refused(Words{"maskcut", "in/overlays", "--no-crf", "--out", "r.json"} + kColour, "were written by usol");
  // A picture that the user puts in place of an overlay is the user's.
  fs::copy_file(folder_ / "in/b.jpg", folder_ / "in/overlays/a.jpg", fs::copy_options::overwrite_existing);
  expect_done(Words{"maskcut", "in", "--no-crf", "--out", "s.json"} + kColour);
  EXPECT_EQ(Json::parse(text("s.json"))["images"].size(), 3u);
}

TEST_F(OutputsTest, AFileOfTheUsersAmongTheResultsOfRunStays) {
  write("out/index.html", "<!DOCTYPE html>\n<p>my gallery");
  expect_refused(Words{"run", "in", "--no-crf", "--out", "out", "--force"} + kColour, "index.html exists and was not");
  EXPECT_FALSE(fs::exists(folder_ / "out/masks.json"));
  fs::remove(folder_ / "out/index.html");
  write("out/stages/a/x_1.npy");
  const auto result = run(Words{"run", "in", "--no-crf", "--out", "out", "--force"} + kColour);
  EXPECT_EQ(result.status, kBadUsage) << result.err;
  EXPECT_THAT(result.err, HasSubstr("x_1.npy: is in the way"));
  EXPECT_EQ(text("out/stages/a/x_1.npy"), "mine\n");
}

TEST_F(OutputsTest, ResumeKeepsToTheSameRules) {
  write("out.json");
  expect_refused(Words{"maskcut", "in", "--no-crf", "--out", "out.json", "--resume"} + kColour, "was not written by");
  write("m.json.journal");
  expect_refused(Words{"maskcut", "in", "--no-crf", "--out", "m.json", "--force"} + kColour, "m.json.journal exists");
  EXPECT_EQ(text("m.json.journal"), "mine\n");
  expect_refused(Words{"maskcut", "in", "--no-crf", "--out", "-", "--resume"} + kColour, "no journal is kept");
}

TEST_F(OutputsTest, TwoOutputsAreNotOneFile) {
  expect_refused(Words{"maskcut", "in", "--no-crf", "--out", "x.json", "--times", "./x.json"} + kColour,
                 "are one file");
  expect_refused({"eval", "--gt", "truth.json", "--pred", "found.json", "--out", "x", "--curves", "x"}, "are one file");
}

TEST_F(OutputsTest, ListsAndSettingsAreInputsToo) {
  write("list.txt", "in/a.jpg\n");
  write("s.toml", "# usol maskcut\n[maskcut]\nsize = 32\n");
  for (const char* out : {"list.txt", "s.toml"}) {
    const std::string before = text(out);
    expect_refused(
        Words{"maskcut", "list.txt", "--config", "s.toml", "--no-crf", "--backbone", "colour", "--out", out, "--force"},
        "is an input of this run");
    EXPECT_EQ(text(out), before);
  }
  expect_refused({"gt", "truth.json", "--subset", "list.txt", "--out", "list.txt", "--force"}, "list.txt");
}

TEST_F(OutputsTest, PipesAmongThePicturesAreListedAndNotOpened) {
  ASSERT_EQ(mkfifo(at("in/pipe.png").c_str(), 0600), 0);
  const auto result = run(Words{"maskcut", "in", "--no-crf", "--out", "m.json"} + kColour, {.kill_after_seconds = 60});
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_THAT(result.err, HasSubstr("pipe.png: expected a regular file, got a named pipe"));
  EXPECT_EQ(Json::parse(text("m.json"))["images"].size(), 2u);
  for (const Words& words :
       {Words{"info", "in/pipe.png"}, Words{"gt", "in/pipe.png", "--out", "g.json"},
        Words{"eval", "--gt", "in/pipe.png", "--pred", "found.json", "--out", "e.json"},
        Words{"report", "in/pipe.png", "--out", "p.html"}, Words{"weights", "in/pipe.png", "--out", "w.safetensors"},
        Words{"predict", "in", "--weights", "in/pipe.png", "--out", "f.json"},
        Words{"train", "--annotations", "in/pipe.png", "--image-root", "in", "--out", "t"}}) {
    const auto refused = run(words, {.kill_after_seconds = 60});
    EXPECT_THAT(refused.err, HasSubstr("a named pipe")) << words[0];
    EXPECT_TRUE(refused.status == kFailure || refused.status == kBadUsage || refused.status == kSomeInputsFailed)
        << words[0] << ": " << refused.status << refused.err;
  }
}

TEST_F(OutputsTest, PipesAmongXmlFilesAreListed) {
  expect_done({"gt", "truth.json", "--to", "voc", "--out", "voc"});
  ASSERT_EQ(mkfifo(at("voc/c.xml").c_str(), 0600), 0);
  const auto result = run({"gt", "voc", "--out", "g.json"}, {.kill_after_seconds = 60});
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_THAT(result.err, HasSubstr("voc/c.xml"));
  EXPECT_EQ(Json::parse(text("g.json"))["images"].size(), 2u);
}

TEST_F(OutputsTest, ASignalEndsTheWaitForAListThatNobodyWrites) {
  ASSERT_EQ(mkfifo(at("list.txt").c_str(), 0600), 0);
  const auto result =
      run(Words{"maskcut", "list.txt", "--out", "m.json"} + kColour, {.kill_after_seconds = 1, .kill_signal = SIGTERM});
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.err;
}

TEST_F(OutputsTest, AListFromACommandIsRead) {
  const auto result = test::run_process(
      {"/bin/bash", "-c", R"("$0" gt truth.json --subset <(echo b.jpg) --out g.json)", test::usol_binary()},
      {.directory = folder_.path().string()});
  EXPECT_EQ(result.status, kSuccess) << result.err;
  EXPECT_EQ(Json::parse(text("g.json"))["images"].size(), 1u);
}

TEST_F(OutputsTest, SelfTrainingDeletesNothingOfTheUsers) {
  write("t.toml",
        "blocks=[1,1,1,1]\nresnet-channels=16\nchannels=8\nhidden=16\nstages=1\nshort-sides=[24]\nlong-side=36\n"
        "batch=2\ngroup-size=1\nreference-batch=2\niterations=1\nwarmup=1\nproposals=20\nprecise-bn=0\neval-every=0\n");
  write("s.toml", "[maskcut]\nbackbone=\"colour\"\nsize=32\n");
  const Words words = {"self-train", "--config", "s.toml", "--image-root", "in", "--train-config", "t.toml", "--rounds",
                       "0",          "--out",    "data",   "--threads",    "1"};
  write("data/masks/hand_made.txt");
  for (const Words& more : {Words{}, Words{"--force"}, Words{"--resume"}}) {
    expect_refused(words + more, "data/masks was not made by usol");
    EXPECT_EQ(text("data/masks/hand_made.txt"), "mine\n");
  }
  fs::rename(folder_ / "data/masks/hand_made.txt", folder_ / "data/hand_made.txt");
  expect_done(words + Words{"--force"});
  // A second time: what is ours goes, what the user has put beside it stays.
  write("data/base/train/notes.txt");
  write("data/masks/more.txt");
  expect_done(words + Words{"--force"});
  for (const char* name : {"data/hand_made.txt", "data/base/train/notes.txt", "data/masks/more.txt"})
    EXPECT_EQ(text(name), "mine\n");
  // A training that starts from one of its own outputs would delete it first.
  expect_refused({"train", "--annotations", "truth.json", "--image-root", "in", "--weights",
                  "data/base/train/model_final.safetensors", "--out", "data/base/train", "--force"},
                 "is an input of this run");
  write("d2/metrics.json", "{\"iteration\": 1, \"total_loss\": 2}\n");
  expect_refused({"train", "--annotations", "truth.json", "--image-root", "in", "--out", "d2", "--force"},
                 "d2/metrics.json exists and was not written by usol");
}

TEST_F(OutputsTest, ASweepDeletesNothingOfTheUsers) {
  const Words words = Words{"sweep", "in", "--no-crf", "--param", "tau=0.1,0.2", "--out", "sw"} + kColour;
  write("sw/tau=0.1/mine.txt");
  for (const Words& more : {Words{}, Words{"--force"}}) {
    expect_refused(words + more, "sw/tau=0.1 was not made by usol");
    EXPECT_EQ(text("sw/tau=0.1/mine.txt"), "mine\n");
  }
  fs::remove_all(folder_ / "sw");
  write("sw/sweep.csv");
  expect_refused(words + Words{"--force"}, "sweep.csv was not written by usol");
  EXPECT_EQ(text("sw/sweep.csv"), "mine\n");
  fs::remove_all(folder_ / "sw");
  expect_done(words);
  write("sw/tau=0.1/mine.txt");
  expect_done(words + Words{"--force"});
  EXPECT_EQ(text("sw/tau=0.1/mine.txt"), "mine\n");
  EXPECT_TRUE(fs::exists(folder_ / "sw/tau=0.1/masks.json"));
}

}  // namespace
}  // namespace usol::cli
