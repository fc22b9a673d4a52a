// The next round's annotations from C++, against the public code's script (tests/golden/make_self_training.py).
#include "usol/pipeline/next_round.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/sha256.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class NextRoundTest : public testing::Test {
 protected:
  NextRoundTest() {
    const Json cases = Json::parse(test::read_text(test::golden_path("self_training.json")))["cases"];
    case_ = cases[0];
    test::write_text(folder_ / "previous.json", case_["previous"].dump());
    test::write_text(folder_ / "predictions.json", case_["predictions"].dump());
    config_ = {.previous = at("previous.json"),
               .predictions = at("predictions.json"),
               .preset = "release",
               .score = case_["threshold"].get<double>()};
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  Json case_;
  test::TempDir folder_;
  test::LoggedRun logged_;
  NextRoundConfig config_;
};

TEST_F(NextRoundTest, IsThePublicScripts) {
  ASSERT_EQ(make_next_round(logged_.run, config_, at("round1/masks.json")), kSuccess);
  const Json merged = Json::parse(test::read_text(folder_ / "round1/masks.json"));
  EXPECT_EQ(merged["images"], case_["images"]);
  EXPECT_EQ(merged["annotations"], case_["annotations"]);
  EXPECT_EQ(merged["info"]["previous_sha256"], io::sha256_file(folder_ / "previous.json"));
  EXPECT_EQ(merged["info"]["settings"]["self-training"], true);
  EXPECT_EQ(merged["info"]["settings"]["score"], case_["threshold"]);
  EXPECT_EQ(merged["info"]["preset"], "release");
  EXPECT_THAT(logged_.log->text(), HasSubstr("have another size"));
}

// The two pictures of predictions that are a data set have each other's ids.
TEST_F(NextRoundTest, PicturesOfOneIdMustHaveOneName) {
  const auto file = [](const char* first, const char* second, const char* annotations) {
    return std::string(R"({"images": [{"id": 1, "height": 4, "width": 4, "file_name": ")") + first +
           R"("}, {"id": 2, "height": 4, "width": 4, "file_name": ")" + second +
           R"("}], "categories": [{"id": 1, "name": "fg"}], "annotations": [)" + annotations + "]}";
  };
  test::write_text(folder_ / "previous.json", file("x.jpg", "y.jpg", ""));
  test::write_text(folder_ / "predictions.json",
                   file("y.jpg", "x.jpg",
                        R"({"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "score": 1,
                            "segmentation": {"size": [4, 4], "counts": [0, 2, 2, 2, 10]}})"));
  config_.preset = "paper";
  try {
    make_next_round(logged_.run, config_, at("a.json"));
    ADD_FAILURE() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_EQ(std::string(error.what()), "image 1 is 'x.jpg' in " + at("previous.json") + ", but 'y.jpg' in " +
                                             at("predictions.json") +
                                             ": match file_name compares by name, match id trusts the ids");
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.json"));
  const auto image_of_the_object = [&](const char* out) {
    EXPECT_EQ(make_next_round(logged_.run, config_, at(out)), kSuccess);
    return Json::parse(test::read_text(folder_ / out))["annotations"][0]["image_id"];
  };
  config_.ids_are_certain = true;
  EXPECT_EQ(image_of_the_object("by_id.json"), 1);
  config_.match = "file_name";
  EXPECT_EQ(image_of_the_object("by_name.json"), 2);
}

TEST_F(NextRoundTest, InputsAndResultsAreNotOverwritten) {
  EXPECT_THROW(make_next_round({.existing = Existing::kReplace}, config_, at("previous.json")), Error);
  EXPECT_EQ(Json::parse(test::read_text(folder_ / "previous.json")), case_["previous"]);
  ASSERT_EQ(make_next_round({.dry_run = true}, config_, at("a.json")), kSuccess);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.json"));
  ASSERT_EQ(make_next_round({}, config_, at("a.json")), kSuccess);
  const std::string before = test::read_text(folder_ / "a.json");
  EXPECT_THROW(make_next_round({}, config_, at("a.json")), Error);
  ASSERT_EQ(make_next_round({.existing = Existing::kContinue}, config_, at("a.json")), kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "a.json"), before);
}

TEST_F(NextRoundTest, StopsWhenAsked) {
  logged_.run.stop = [] { return 15; };
  try {
    make_next_round(logged_.run, config_, at("a.json"));
    ADD_FAILURE() << "was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.json"));
}

}  // namespace
}  // namespace usol
