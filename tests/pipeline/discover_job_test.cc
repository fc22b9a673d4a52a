// Discovery over files, from C++.
#include "usol/pipeline/discover_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/kept_log.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/resize.h"
#include "usol/pipeline/settings.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

class DiscoverJobTest : public testing::Test {
 protected:
  DiscoverJobTest() {
    fs::create_directories(folder_ / "in/sub");
    const Tensor cat = io::decode_image(test::source_path("tests/pictures/chelsea.jpg"));
    io::write_png(folder_ / "in/sub/cat.png", io::resize(cat, 75, 115, io::Filter::kLanczos));
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  // A job by colours, as a settings file has it.
  void prepare(DiscoverJob& job, const std::string& method) const {
    SettingsTable settings("discover");
    job.declare(settings);
    settings.set("method", method);
    job.inputs.inputs = {at("in")};
    job.features.backbone = "colour";
  }

  test::TempDir folder_;
  test::LoggedRun logged_;
};

TEST_F(DiscoverJobTest, RecordsSayWhatTheyAre) {
  DiscoverJob job;
  prepare(job, "lost");
  ASSERT_EQ(job.run(logged_.run, {at("lost.json"), at("look")}), kSuccess);
  const io::AnnotationSet set = io::read_coco(folder_ / "lost.json");
  ASSERT_EQ(set.images.size(), 1u);
  EXPECT_EQ(set.images[0].file_name, "sub/cat.png");
  EXPECT_EQ(set.images[0].width, 115);
  EXPECT_EQ(set.annotations.size(), 1u);  // LOST finds one
  EXPECT_TRUE(fs::exists(folder_ / "look/sub/cat.jpg"));
  const auto info = nlohmann::json::parse(set.info_json);
  EXPECT_EQ(info["settings"]["method"], "lost");
  EXPECT_EQ(info["settings"]["size"], 0);  // as asked for
  EXPECT_EQ(info["description"], "usol library");
}

TEST_F(DiscoverJobTest, MapsAreOfMethodsThatMakeSome) {
  DiscoverJob job;
  prepare(job, "lost");
  EXPECT_THROW(job.run({}, {.coco = at("a.json"), .maps = at("maps")}), Error);
  EXPECT_FALSE(fs::exists(folder_ / "a.json") || fs::exists(folder_ / "maps"));
}

}  // namespace
}  // namespace usol
