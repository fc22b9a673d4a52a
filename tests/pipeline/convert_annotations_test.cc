// Truths between formats, from C++.
#include "usol/pipeline/convert_annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using testing::HasSubstr;

constexpr const char* kTruth = R"({"info": {"description": "mine"},
  "images": [{"id": 3, "height": 8, "width": 10, "file_name": "sub/a.jpg"},
             {"id": 8, "height": 8, "width": 10, "file_name": "b.jpg"}],
  "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "zebra"}],
  "annotations": [
    {"id": 5, "image_id": 3, "category_id": 2, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
     "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
    {"id": 6, "image_id": 8, "category_id": 1, "bbox": [1, 0, 1, 8], "area": 8, "iscrowd": 1,
     "segmentation": {"size": [8, 10], "counts": [8, 8, 64]}}]})";

class ConvertAnnotationsTest : public testing::Test {
 protected:
  ConvertAnnotationsTest() {
    test::write_text(folder_ / "truth.json", kTruth);
    conversion_.inputs = {at("truth.json")};
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string error_of(const std::string& out) {
    try {
      convert_annotations({}, conversion_, out);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  test::TempDir folder_;
  test::LoggedRun logged_;
  AnnotationConversion conversion_;
};

TEST_F(ConvertAnnotationsTest, ASubsetOfOneClass) {
  test::write_text(folder_ / "list.txt", "a\n");
  conversion_.subset = at("list.txt");
  conversion_.class_agnostic = true;
  ASSERT_EQ(convert_annotations(logged_.run, conversion_, at("fg.json")), kSuccess);
  const io::AnnotationSet set = io::read_coco(folder_ / "fg.json");
  ASSERT_EQ(set.images.size(), 1u);
  EXPECT_EQ(set.images[0].id, 3);
  ASSERT_EQ(set.annotations.size(), 1u);
  EXPECT_EQ(set.annotations[0].category_id, 1);
  EXPECT_EQ(set.categories[0].name, "fg");
  const auto info = nlohmann::json::parse(set.info_json);
  EXPECT_EQ(info["source"]["description"], "mine");
  EXPECT_EQ(info["settings"]["class-agnostic"], true);
  EXPECT_THAT(logged_.log->text(), HasSubstr("1 images, 1 annotations, 1 categories"));
  test::write_text(folder_ / "list.txt", "a\nzzz\n");
  EXPECT_THAT(error_of(at("x.json")), HasSubstr("1 of 2 entries stand for no image: zzz"));
}

TEST_F(ConvertAnnotationsTest, EveryFormatHasAFileForEachImage) {
  for (const auto& [format, name] : {std::pair{"png", "sub/a.png"}, {"voc", "sub/a.xml"}, {"yolo", "sub/a.txt"}}) {
    conversion_.to = format;
    ASSERT_EQ(convert_annotations(logged_.run, conversion_, at(format)), kSuccess) << format;
    EXPECT_TRUE(fs::exists(folder_ / format / name)) << format;
    EXPECT_NE(error_of(at(format)), "none");  // exists
  }
  EXPECT_TRUE(fs::exists(folder_ / "yolo/data.yaml"));
  EXPECT_THAT(logged_.log->text(), HasSubstr("1 crowds were left out"));
  const Tensor mask = io::decode_image(folder_ / "png/sub/a.png");
  EXPECT_EQ(mask.select(0, 1).select(0, 1).to_vector<std::uint8_t>()[0], 255);
  EXPECT_EQ(mask.select(0, 6).select(0, 6).to_vector<std::uint8_t>()[0], 0);
  const Tensor without = io::decode_image(folder_ / "png/b.png");  // of the crowd nothing is left
  for (const std::uint8_t value : without.to_vector<std::uint8_t>()) ASSERT_EQ(value, 0);
  conversion_.to = "xml";
  EXPECT_THAT(error_of(at("y")), HasSubstr("expected one of coco, png, voc, yolo"));
}

TEST_F(ConvertAnnotationsTest, PipesAmongXmlFilesAreListed) {
  conversion_.to = "voc";
  ASSERT_EQ(convert_annotations({}, conversion_, at("voc")), kSuccess);
  ASSERT_EQ(mkfifo(at("voc/pipe.xml").c_str(), 0600), 0);
  AnnotationConversion back{.inputs = {at("voc")}};
  EXPECT_EQ(convert_annotations(logged_.run, back, at("back.json")), kSomeInputsFailed);
  EXPECT_THAT(logged_.log->text(), HasSubstr("  " + at("voc/pipe.xml")));
  EXPECT_EQ(io::read_coco(folder_ / "back.json").images.size(), 2u);
}

TEST_F(ConvertAnnotationsTest, WhatStandsInThePlaceOfAnXmlFileIsNamed) {
  conversion_.inputs = {at("a.xml")};
  test::write_text(folder_ / "a.xml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 512\n");
  EXPECT_THAT(error_of(at("x.json")), HasSubstr("a.xml: this is a git-LFS pointer, not an annotation file of VOC"));
  test::write_text(folder_ / "a.xml", "<?xml version=\"1.0\"?>\n<!DOCTYPE html><html><body>Sign in</body></html>");
  EXPECT_THAT(error_of(at("x.json")), HasSubstr("a.xml: this is a web page (HTML), not an annotation file of VOC"));
}

TEST_F(ConvertAnnotationsTest, NamesThatMeetOrLeaveTheFolderAreRefused) {
  auto truth = nlohmann::json::parse(kTruth);
  conversion_.to = "png";
  truth["images"][1]["file_name"] = "sub/a.png";
  test::write_text(folder_ / "truth.json", truth.dump());
  EXPECT_THAT(error_of(at("x")), HasSubstr("images 3 and 8 would be written to one file"));
  truth["images"][1]["file_name"] = "../b.png";
  test::write_text(folder_ / "truth.json", truth.dump());
  EXPECT_THAT(error_of(at("x")), HasSubstr("leaves the output folder"));
  truth["images"][1].erase("file_name");
  test::write_text(folder_ / "truth.json", truth.dump());
  EXPECT_THAT(error_of(at("x")), HasSubstr("image 8 has no file name"));
  EXPECT_FALSE(fs::exists(folder_ / "x"));
}

}  // namespace
}  // namespace usol
