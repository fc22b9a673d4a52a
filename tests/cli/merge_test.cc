// `usol merge --self-training` against the public code's script (tests/golden/make_self_training.py).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

class MergeTest : public testing::Test {
 protected:
  MergeTest() : cases_(Json::parse(test::read_text(test::golden_path("self_training.json")))["cases"]) {}
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult merge(const Json& one, const Words& more = {}) const {
    test::write_text(folder_ / "previous.json", one["previous"].dump());
    test::write_text(folder_ / "predictions.json", one["predictions"].dump());
    Words words{"merge",         "--self-training",      "--previous", at("previous.json"),
                "--predictions", at("predictions.json"), "--score",    one["threshold"].dump(),
                "--out",         at("merged.json")};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_usol(words);
  }
  Json merged() const { return Json::parse(test::read_text(folder_ / "merged.json")); }

  Json cases_;
  test::TempDir folder_;
};

TEST_F(MergeTest, ReleaseIsThePublicScript) {
  ASSERT_EQ(cases_.size(), 2u);
  for (const Json& one : cases_) {
    const auto result = merge(one, {"--preset", "release", "--force"});
    ASSERT_EQ(result.status, kSuccess) << result.err;
    EXPECT_EQ(merged()["images"], one["images"]);
    EXPECT_EQ(merged()["annotations"], one["annotations"]);
    EXPECT_NE(result.err.find("have another size"), std::string::npos) << result.err;
  }
}

// The same objects but for the slips: no picture here has masks of two sizes, empty ones go, and the records are right.
TEST_F(MergeTest, PaperPutsTheScriptsSlipsRight) {
  for (const Json& one : cases_) {
    fs::remove(folder_ / "merged.json");
    const auto refused = merge(one);
    EXPECT_EQ(refused.status, kFailure);
    EXPECT_NE(refused.err.find("differ in size"), std::string::npos) << refused.err;

    Json cut = one;  // without the pictures that the script falls over
    const auto size_in = [](const Json& records, const Json& image) {
      for (const Json& record : records)
        if (record["image_id"] == image) return record["segmentation"]["size"];
      return Json();
    };
    const auto clean = [&](const Json& records) {
      Json kept = Json::array();
      for (const Json& record : records) {
        const Json old = size_in(one["previous"]["annotations"], record["image_id"]);
        const Json found = size_in(one["predictions"], record["image_id"]);
        if (old.is_null() || found.is_null() || old == found) kept.push_back(record);
      }
      return kept;
    };
    cut["previous"]["annotations"] = clean(one["previous"]["annotations"]);
    cut["predictions"] = clean(one["predictions"]);
    const auto result = merge(cut, {"--force"});
    ASSERT_EQ(result.status, kSuccess) << result.err;
    Json expected = Json::array();
    for (Json record : clean(one["annotations"])) {
      // An empty mask is one run of zeros, as long as the mask.
      if (record.contains("score") && record["bbox"][2] == 0) continue;
      std::swap(record["width"], record["height"]);
      record["id"] = expected.size() + 1;
      expected.push_back(record);
    }
    const Json annotations = merged()["annotations"];
    ASSERT_EQ(annotations.size(), expected.size());
    std::size_t areas = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      areas += annotations[i]["area"] != expected[i]["area"];  // the mask's, not the box's
      expected[i]["area"] = annotations[i]["area"];
      EXPECT_EQ(annotations[i], expected[i]);
    }
    EXPECT_GT(areas, 0u);
    const Json all = merged();
    for (const Json& image : all["images"])
      for (const Json& record : annotations)
        if (record["image_id"] == image["id"]) {
          EXPECT_EQ(record["segmentation"]["size"], Json::array({image["height"], image["width"]}));
        }
  }
}

TEST_F(MergeTest, ErrorsNameWhatIsWrong) {
  Json one = cases_[0];
  const auto refused = [&](const Json& changed, const char* text, const Words& more = {"--preset", "release"}) {
    const auto result = merge(changed, more);
    EXPECT_NE(result.status, kSuccess) << text;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(folder_ / "merged.json"));
  };
  Json changed = one;
  changed["predictions"][3].erase("score");
  refused(changed, "predictions.json: [3]: expected a score");
  changed = one;
  changed["predictions"][0]["image_id"] = 1000;
  changed["predictions"][0]["score"] = 0.9;
  refused(changed, "image 1000 is not in");
  refused(one, "takes --previous and --predictions", {at("previous.json")});
  EXPECT_EQ(test::run_usol({"merge", "--score", "0.5", at("previous.json"), "--out", at("x")}).status, kBadUsage);
  EXPECT_EQ(test::run_usol({"merge", "--match", "id", at("previous.json"), "--out", at("x")}).status, kBadUsage);
  Json named = one;  // a data set whose first picture is another
  named["predictions"] = {{"images", one["previous"]["images"]},
                          {"categories", one["previous"]["categories"]},
                          {"annotations", one["predictions"]}};
  named["predictions"]["images"][0]["file_name"] = "another.jpg";
  refused(named, "but 'another.jpg' in");
  EXPECT_EQ(merge(named, {"--preset", "release", "--match", "id"}).status, kSuccess);
  fs::remove(folder_ / "merged.json");
  EXPECT_EQ(test::run_usol({"merge", "--self-training", "--previous", at("none.json"), "--predictions",
                            at("predictions.json"), "--out", at("x")})
                .status,
            kBadUsage);
}

}  // namespace
}  // namespace usol::cli
