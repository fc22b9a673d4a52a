// Features of pictures from C++, and masks and a page of them.
#include "usol/pipeline/features_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/maskcut_page.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using testing::HasSubstr;

class FeaturesJobTest : public testing::Test {
 protected:
  FeaturesJobTest() {
    fs::create_directories(folder_ / "in/sub");
    fs::copy_file(test::source_path("tests/pictures/chelsea.jpg"), folder_ / "in/sub/cat.jpg");
    test::write_text(folder_ / "in/notes.md", "no picture");
    logged_.run.verbosity = Verbosity::kDetailed;
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  test::TempDir folder_;
  test::LoggedRun logged_;
};

TEST_F(FeaturesJobTest, AFileForEachPictureAndAList) {
  FeaturesJob job;
  job.inputs.inputs = {at("in")};
  job.features.backbone = "colour";
  job.features.size = 64;
  job.dtype = "f16";
  ASSERT_EQ(job.run(logged_.run, at("features")), kSuccess);
  const auto tensors = io::load_safetensors(folder_ / "features/sub/cat.safetensors");
  ASSERT_EQ(tensors.at("features").rank(), 3);
  EXPECT_EQ(tensors.at("features").size(1), 8);  // 64 pixels in patches of 8
  EXPECT_EQ(tensors.at("features").dtype(), DType::kF16);
  const io::AnnotationSet list = io::read_coco(folder_ / "features/features.json");
  ASSERT_EQ(list.images.size(), 1u);
  EXPECT_EQ(list.images[0].file_name, "sub/cat.jpg");
  const auto info = nlohmann::json::parse(list.info_json);
  EXPECT_EQ(info["settings"]["feature-dtype"], "f16");
  EXPECT_EQ(info["settings"]["size"], 64);
  // As every job over pictures says.
  EXPECT_THAT(logged_.log->text(), HasSubstr("1 files are no pictures by their name and were left out"));
}

TEST_F(FeaturesJobTest, MasksAndAPage) {
  MaskcutJob job;
  job.inputs.inputs = {at("in")};
  job.features.backbone = "colour";
  job.features.size = 64;
  job.crf = false;
  ASSERT_EQ(run_maskcut_with_page(logged_.run, job, at("found"), {{"usol next", "What comes next."}}), kSuccess);
  const io::AnnotationSet masks = io::read_coco(folder_ / "found/masks.json");
  ASSERT_EQ(masks.images.size(), 1u);
  EXPECT_GE(masks.annotations.size(), 1u);
  for (const char* name : {"overlays/sub/cat.jpg", "stages/sub/cat/x_1.npy", "stages/sub/cat/P_1.npy", "times.json"})
    EXPECT_TRUE(fs::exists(folder_ / "found" / name)) << name;
  EXPECT_FALSE(fs::exists(folder_ / "found/stages/sub/cat/W_1.npy"));
  const std::string page = test::read_text(folder_ / "found/index.html");
  EXPECT_THAT(page, HasSubstr("Objects found by usol"));
  EXPECT_THAT(page, HasSubstr("What comes next."));
  EXPECT_THROW(run_maskcut_with_page({}, job, at("found")), Error);  // exists
}

}  // namespace
}  // namespace usol
