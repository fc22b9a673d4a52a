// The bytes of every verb that looks at many pictures are the same for any number of threads, whether pictures are
// worked on one after the other or several at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/safetensors.h"
#include "usol/models/vit.h"

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

class ThreadsTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  // A vision transformer with random weights, wide enough that oneDNN cuts its products for several threads.
  std::string weights() const {
    VitConfig config;
    config.width = 128;
    config.depth = 2;
    config.grid = 4;
    config.patch = 16;
    config.mlp_hidden = 512;
    ParamStore store(3);
    const Vit vit(Scope(store), config);
    io::save_safetensors(folder_ / "vit.safetensors", store.state_dict());
    return at("vit.safetensors");
  }

  // Every file that the command wrote into `folder`, by its name.
  std::map<std::string, std::string> files(const std::string& folder) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / folder))
      if (entry.is_regular_file()) {
        const std::string name = fs::relative(entry.path(), folder_ / folder).string(),
                          bytes = test::read_text(entry.path());
        found[name] = name.ends_with(".usol-files") ? sorted_lines(bytes) : bytes;
      }
    return found;
  }

  // The list of what was written has its lines in the order in which the files were finished.
  static std::string sorted_lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }

  // Runs `words` with 1, 2 and 3 threads; $ stands for the folder that each writes into.
  void expect_same_bytes(const Words& words, std::size_t least_files) {
    std::map<std::string, std::string> first;
    for (const std::string threads : {"1", "2", "3"}) {
      Words all = words;
      const std::string folder = words[0] + threads;
      for (std::string& word : all)
        if (word.starts_with("$")) word = at(folder + "/" + word.substr(1));
      all.insert(all.begin() + 1, test::source_path("tests/pictures"));
      all.insert(all.end(), {"--threads", threads, "--verbose"});
      const test::ProcessResult result = test::run_usol(all);
      ASSERT_EQ(result.status, 0) << result.err;
      EXPECT_EQ(result.err.find("pictures at a time") != std::string::npos, threads != "1") << result.err;
      const auto written = files(folder);
      EXPECT_GE(written.size(), least_files);
      if (threads == "1") first = written;
      for (const auto& [name, bytes] : first) {
        ASSERT_TRUE(written.contains(name)) << name;
        EXPECT_TRUE(written.at(name) == bytes) << words[0] << ": " << name << " with " << threads << " threads";
      }
    }
    for (const std::string threads : {"1", "2", "3"}) fs::remove_all(folder_ / (words[0] + threads));
  }

  test::TempDir folder_;
};

TEST_F(ThreadsTest, MasksWithoutANetwork) {
  for (const std::string backbone : {"colour", "contrast"})
    expect_same_bytes({"maskcut", "--backbone", backbone, "--size", "160", "--out", "$a.json", "--overlays", "$look",
                       "--dump", "$dump", "--dump-only", "x,P"},
                      15);
}

TEST_F(ThreadsTest, MasksOfANetwork) {
  expect_same_bytes({"maskcut", "--weights", weights(), "--size", "320", "--out", "$a.json", "--overlays", "$look"}, 8);
}

TEST_F(ThreadsTest, Features) {
  expect_same_bytes({"features", "--weights", weights(), "--size", "320", "--out", "$"}, 8);
}

TEST_F(ThreadsTest, DiscoveredObjects) {
  for (const std::string method : {"tokencut", "lost"})
    expect_same_bytes({"discover", "--method", method, "--weights", weights(), "--size", "160", "--out", "$a.json",
                       "--overlays", "$look"},
                      8);
}

TEST_F(ThreadsTest, ObjectsOfADetector) {
  StateDict state;
  for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
    if (name.starts_with("cascade/")) state[name.substr(8)] = tensor;
  io::save_safetensors(folder_ / "detector.safetensors", state);
  expect_same_bytes({"predict", "--weights", at("detector.safetensors"), "--short-side", "96", "--long-side", "160",
                     "--score", "0", "--out", "$a.json", "--overlays", "$look"},
                    8);
}

}  // namespace
}  // namespace usol::cli
