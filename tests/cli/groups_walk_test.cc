// The walk of docs/groups.md, command by command, on the bundled pictures: made small by variables of the environment,
// as a user could, and with random weights in the place of DINO's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/small_vit.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image.h"
#include "usol/io/resize.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace usol::cli {
namespace {

using testing::HasSubstr;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The page's commands, and the text of its block `names.txt`.
struct Walk {
  std::vector<std::vector<std::string>> commands;
  std::string names;
};

Walk read_walk() {
  Walk walk;
  std::istringstream page(test::read_text(test::source_path("docs/groups.md")));
  bool in_names = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("```")) {
      in_names = line == "```names.txt";
    } else if (in_names) {
      walk.names += line + "\n";
    } else if (line.starts_with("    usol ")) {
      walk.commands.push_back(words_of(line));
    }
  }
  return walk;
}

TEST(GroupsWalk, FromPicturesToADetectorWithNames) {
  const test::TempDir folder;
  fs::create_directory(folder / "photos");
  for (const auto& entry : fs::directory_iterator(test::source_path("tests/pictures"))) {
    if (entry.path().extension() != ".jpg") continue;
    const Tensor image = io::decode_image(entry.path());
    io::write_png(folder / "photos" / entry.path().filename().replace_extension(".png"),
                  resize(image, image.size(0) / 5, image.size(1) / 5, io::Filter::kLanczos));
  }
  test::write_small_vit(folder / "dino.pth");
  // What makes it quick. A variable of a setting that a verb has not is not for it.
  const test::ProcessOptions options{.environment = {{"USOL_SIZE", "64"},
                                                     {"USOL_THREADS", "2"},
                                                     {"USOL_CRF", "false"},
                                                     {"USOL_TAU", "0.3"},
                                                     {"USOL_ITERATIONS", "2"},
                                                     {"USOL_STEPS", "1"},
                                                     {"USOL_BATCH", "2"},
                                                     {"USOL_PRECISE_BN", "0"},
                                                     {"USOL_SHORT_SIDES", "64"},
                                                     {"USOL_SHORT_SIDE", "64"},
                                                     {"USOL_LONG_SIDE", "96"},
                                                     {"USOL_RESNET_CHANNELS", "16"},
                                                     {"USOL_CHANNELS", "8"},
                                                     {"USOL_HIDDEN", "16"},
                                                     {"USOL_PROPOSALS", "30"},
                                                     {"USOL_SCORE", "0"},
                                                     {"USOL_MOST", "5"},
                                                     {"USOL_LEAST_SIZE", "1"}},
                                     .directory = folder.path().string()};
  const Walk walk = read_walk();
  ASSERT_EQ(walk.commands.size(), 7u) << "docs/groups.md has another walk";
  for (std::vector<std::string> command : walk.commands) {
    const std::string verb = command[1];
    const bool names = std::find(command.begin(), command.end(), "--names") != command.end();
    if (names) test::write_text(folder / "names.txt", walk.names);
    if (verb == "eval") {  // the truth: the detector's own masks, with their names
      fs::copy_file(folder / "named.json", folder / "truth.json");
    }
    if (verb == "train") {  // no DINO ResNet is at hand
      const auto weights = std::find(command.begin(), command.end(), "--weights");
      ASSERT_NE(weights, command.end());
      command.erase(weights, weights + 2);
    }
    const auto result = test::run_usol({command.begin() + 1, command.end()}, options);
    ASSERT_EQ(result.status, 0) << verb << ": " << result.err;
  }
  const auto read = [&](const std::string& name) { return Json::parse(test::read_text(folder / name)); };
  const Json groups = read("groups.json"), named = read("named.json"), found = read("found.json");
  EXPECT_EQ(groups["annotations"].size(), read("masks.json")["annotations"].size());
  EXPECT_THAT(test::read_text(folder / "groups.html"), HasSubstr("data-group=\"1\""));
  ASSERT_EQ(named["categories"].size(), 2u);
  EXPECT_GT(named["annotations"].size(), 0u);
  for (const Json* file : {&named, &found}) {
    EXPECT_EQ((*file)["categories"][0]["name"], "person");
    EXPECT_EQ((*file)["categories"][1]["name"], "vehicle");
  }
  EXPECT_GT(found["annotations"].size(), 0u);
  EXPECT_GT(read("metrics.json")["assignment"]["objects"].get<int>(), 0);
}

}  // namespace
}  // namespace usol::cli
