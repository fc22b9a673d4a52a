// usol gt: formats in and out, subsets, and errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using test::run_usol;
using testing::HasSubstr;

constexpr const char* kVoc = R"(<annotation>
  <folder>VOC2007</folder><filename>000005.jpg</filename>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <object><name>chair</name><difficult>0</difficult>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>30</ymax></bndbox></object>
  <object><name>person</name>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
    <bndbox><xmin>5.0</xmin><ymin>5</ymin><xmax>40</xmax><ymax>6</ymax></bndbox></object>
</annotation>)";

// As LVIS has it: no file names, no iscrowd.
constexpr const char* kLvis = R"({"info": {"description": "LVIS"}, "images": [
  {"id": 3, "height": 8, "width": 10, "coco_url": "http://host/val2017/000000000003.jpg", "neg_category_ids": [1]},
  {"id": 8, "height": 8, "width": 10, "coco_url": "http://host/val2017/000000000008.jpg"}],
  "categories": [{"id": 1, "name": "aerosol_can", "synset": "aerosol.n.02"}, {"id": 2, "name": "zebra"}],
  "annotations": [
  {"id": 5, "image_id": 3, "category_id": 2, "bbox": [1, 1, 4, 4], "area": 16, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
  {"id": 6, "image_id": 8, "category_id": 1, "segmentation": {"size": [8, 10], "counts": [8, 8, 64]}}]})";

class Gt : public testing::Test {
 protected:
  test::ProcessResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "gt");
    return run_usol(arguments, {.directory = folder_.path().string()});
  }
  void SetUp() override {
    test::write_text(folder_ / "voc/000005.xml", kVoc);
    test::write_text(folder_ / "lvis.json", kLvis);
  }
  test::TempDir folder_;
};

TEST_F(Gt, LvisToClassAgnosticCoco) {
  const auto result = run({"lvis.json", "--class-agnostic", "--out", "fg.json"});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  const io::AnnotationSet set = io::read_coco(folder_ / "fg.json");
  EXPECT_EQ(set.images[0].file_name, "val2017/000000000003.jpg");
  ASSERT_EQ(set.categories.size(), 1);
  EXPECT_EQ(set.categories[0].name, "fg");
  ASSERT_EQ(set.annotations.size(), 2);
  for (const auto& annotation : set.annotations) EXPECT_EQ(annotation.category_id, 1);
  EXPECT_EQ(set.annotations[1].box, (io::Box{1, 0, 1, 8}));  // box and area from the mask
  EXPECT_EQ(set.annotations[1].area, 8);
  const auto document = nlohmann::json::parse(test::read_text(folder_ / "fg.json"));
  EXPECT_EQ(document["annotations"][0]["iscrowd"], 0);
  EXPECT_EQ(document["info"]["source"]["description"], "LVIS");
  EXPECT_EQ(run({"lvis.json", "--out", "fg.json"}).status, kBadUsage);  // exists
}

TEST_F(Gt, Subsets) {
  test::write_text(folder_ / "list.txt", "# a comment\nsomewhere/000000000008.png\r\n\n");
  ASSERT_EQ(run({"lvis.json", "--subset", "list.txt", "--out", "a.json"}).status, kSuccess);
  io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(set.images.size(), 1);
  EXPECT_EQ(set.images[0].id, 8);
  ASSERT_EQ(set.annotations.size(), 1);
  EXPECT_EQ(set.categories.size(), 2);
  test::write_text(folder_ / "list.txt", "3\n");
  ASSERT_EQ(run({"lvis.json", "--subset", "list.txt", "--out", "b.json"}).status, kSuccess);
  EXPECT_EQ(io::read_coco(folder_ / "b.json").images[0].id, 3);
  test::write_text(folder_ / "list.txt", "3\n99\nnone.jpg\n");
  const auto missing = run({"lvis.json", "--subset", "list.txt", "--out", "c.json"});
  EXPECT_EQ(missing.status, kFailure);
  EXPECT_THAT(missing.err, HasSubstr("list.txt: 2 of 3 entries stand for no image: 99, none.jpg"));
}

TEST_F(Gt, VocInAndOut) {
  ASSERT_EQ(run({"voc", "--out", "voc.json"}).status, kSuccess);
  const io::AnnotationSet set = io::read_coco(folder_ / "voc.json");
  ASSERT_EQ(set.images.size(), 1);
  EXPECT_EQ(set.images[0].file_name, "000005.jpg");
  ASSERT_EQ(set.annotations.size(), 2);
  EXPECT_EQ(set.annotations[0].box, (io::Box{0, 1, 10, 29}));
  EXPECT_EQ(set.annotations[1].box, (io::Box{4, 4, 36, 2}));
  EXPECT_EQ(set.annotations[0].category_id, 9);  // chair, the ninth of VOC's twenty
  ASSERT_EQ(run({"voc.json", "--to", "voc", "--out", "again"}).status, kSuccess);
  ASSERT_EQ(run({"again", "--out", "again.json"}).status, kSuccess);
  const io::AnnotationSet again = io::read_coco(folder_ / "again.json");
  ASSERT_EQ(again.annotations.size(), 2);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(again.annotations[i].box, set.annotations[i].box);
    EXPECT_EQ(again.annotations[i].category_id, set.annotations[i].category_id);
  }
}

TEST_F(Gt, DifficultObjectsOfVoc) {
  std::string text = kVoc;
  text.replace(text.find("<difficult>0"), 12, "<difficult>1");
  test::write_text(folder_ / "hard/000005.xml", text);
  const auto crowds = [&](const char* file) {
    std::vector<bool> all;
    for (const auto& annotation : io::read_coco(folder_ / file).annotations) all.push_back(annotation.is_crowd);
    return all;
  };
  const auto as_crowds = run({"hard", "--out", "crowd.json"});
  ASSERT_EQ(as_crowds.status, kSuccess) << as_crowds.err;
  EXPECT_THAT(as_crowds.err, HasSubstr("1 objects are marked difficult, and are crowds"));
  EXPECT_EQ(crowds("crowd.json"), (std::vector<bool>{true, false}));
  ASSERT_EQ(run({"hard", "--difficult", "keep", "--out", "keep.json"}).status, kSuccess);
  EXPECT_EQ(crowds("keep.json"), (std::vector<bool>{false, false}));
  ASSERT_EQ(run({"hard", "--difficult", "drop", "--out", "drop.json"}).status, kSuccess);
  EXPECT_EQ(crowds("drop.json"), std::vector<bool>{false});
  // There and back.
  ASSERT_EQ(run({"crowd.json", "--to", "voc", "--out", "again"}).status, kSuccess);
  ASSERT_EQ(run({"again", "--out", "again.json"}).status, kSuccess);
  EXPECT_EQ(crowds("again.json"), (std::vector<bool>{true, false}));
  const auto coco = run({"crowd.json", "--difficult", "keep", "--out", "x.json"});
  EXPECT_EQ(coco.status, kBadUsage);
  EXPECT_THAT(coco.err, HasSubstr("crowd.json is no VOC file"));

  // Who does not find the difficult object loses nothing by it.
  test::write_text(folder_ / "found.json",
                   R"([{"image_id": 1, "category_id": 15, "bbox": [4, 4, 36, 2], "score": 0.9}])");
  for (const bool voc : {true, false}) {
    std::vector<std::string> words = {"eval",       "--gt",  "crowd.json", "--pred",
                                      "found.json", "--out", "m.json",     "--force"};
    words.insert(words.end(), {voc ? "--voc" : "--iou", voc ? "categories" : "box"});
    ASSERT_EQ(run_usol(words, {.directory = folder_.path().string()}).status, kSuccess);
    const auto metrics = nlohmann::json::parse(test::read_text(folder_ / "m.json"));
    EXPECT_NEAR(metrics[voc ? "voc" : "box"]["AP50"].get<double>(), 1, 1e-12) << metrics.dump();
  }
}

TEST_F(Gt, MaskPictures) {
  ASSERT_EQ(run({"lvis.json", "--to", "png", "--out", "masks"}).status, kSuccess);
  const Tensor picture = io::decode_image(folder_ / "masks/val2017/000000000003.png");
  EXPECT_EQ(picture.shape(), (Shape{8, 10, 3}));
  EXPECT_EQ(picture.select(0, 1).select(0, 1).to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{255, 255, 255}));
  EXPECT_EQ(picture.select(0, 6).select(0, 6).to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{0, 0, 0}));
  EXPECT_EQ(run({"lvis.json", "--to", "png", "--out", "masks"}).status, kBadUsage);  // not empty
}

TEST_F(Gt, YoloLabels) {
  const auto result = run({"lvis.json", "--to", "yolo", "--out", "labels"});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  EXPECT_EQ(test::read_text(folder_ / "labels/val2017/000000000003.txt"),
            "1 0.1 0.125 0.5 0.125 0.5 0.625 0.1 0.625\n");
  EXPECT_EQ(test::read_text(folder_ / "labels/val2017/000000000008.txt"), "0 0.1 0 0.2 0 0.2 1 0.1 1\n");
  EXPECT_EQ(test::read_text(folder_ / "labels/data.yaml"), "names:\n  0: 'aerosol_can'\n  1: 'zebra'\n");
  EXPECT_EQ(run({"lvis.json", "--to", "yolo", "--out", "labels"}).status, kBadUsage);  // not empty
}

TEST_F(Gt, BadFilesAreNamed) {
  test::write_text(folder_ / "bad/a.xml", "<annotation><object></annotation>");
  EXPECT_THAT(run({"bad", "--out", "x.json"}).err, HasSubstr("bad/a.xml: malformed XML at byte"));
  std::string text = kVoc;
  text.replace(text.find("<xmax>10<"), 9, "<xmax>ten<");
  test::write_text(folder_ / "bad/a.xml", text);
  EXPECT_THAT(run({"bad", "--out", "x.json"}).err,
              HasSubstr("bad/a.xml: object[0].bndbox.xmax: expected a number, got \"ten\""));
  text = kVoc;
  text.replace(text.find("chair"), 5, "si\xe8ge");
  test::write_text(folder_ / "bad/a.xml", text);
  const auto latin = run({"bad", "--out", "x.json"});
  EXPECT_EQ(latin.status, kFailure);
  EXPECT_THAT(latin.err, HasSubstr("bad/a.xml: object[0].name: expected UTF-8, got \"si\\xe8ge\": convert the file"));
  test::write_text(folder_ / "bad/a.xml", R"(<?xml version="1.0" encoding="latin1"?>)" + text);
  EXPECT_EQ(run({"bad", "--out", "x.json"}).status, kSuccess);
  EXPECT_EQ(io::read_coco(folder_ / "x.json").categories.at(1).name, "si\xc3\xa8ge");
  fs::remove(folder_ / "x.json");
  EXPECT_EQ(run({"none.json", "--out", "x.json"}).status, kBadUsage);
  test::write_text(folder_ / "results.json", "[]");
  EXPECT_EQ(run({"results.json", "--out", "x.json"}).status, kBadUsage);
}

}  // namespace
}  // namespace usol::cli
