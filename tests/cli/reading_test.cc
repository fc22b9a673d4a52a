// Every verb reads annotations with one reader: the same odd file is accepted or refused, and told about, in the same
// words wherever it is given.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/run_here.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using nlohmann::json;
using testing::ElementsAreArray;
using testing::HasSubstr;
using Words = std::vector<std::string>;

json sample() {
  return json::parse(R"({
    "images": [{"id": 1, "width": 30, "height": 20, "file_name": "a.png"},
               {"id": 2, "width": 30, "height": 20, "file_name": "sub/b.png"}],
    "categories": [{"id": 1, "name": "fg"}],
    "annotations": [
      {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8], "area": 80, "iscrowd": 0, "score": 0.9,
       "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]]},
      {"id": 2, "image_id": 2, "category_id": 1, "bbox": [20, 10, 10, 10], "area": 100, "iscrowd": 0, "score": 0.8,
       "segmentation": [[20, 10, 30, 10, 30, 20, 20, 20]]}]})");
}

// A file that is odd in one way.
struct OddFile {
  const char* name;
  json patch;                       // RFC 6902, applied to the sample
  Words of_images, of_annotations;  // what is said about it
  const char* error = nullptr;      // ... or why it is refused; null: it is not
  bool has_all_masks = true;        // else what needs them refuses it afterwards
};

std::vector<OddFile> odd_files() {
  const auto set = [](const char* path, const json& value) {
    return json{{{"op", "add"}, {"path", path}, {"value", value}}};
  };
  const auto remove = [](const char* path) { return json{{{"op", "remove"}, {"path", path}}}; };
  const std::string text_id = std::to_string(io::id_from_text("x")),
                    huge_id = std::to_string(io::id_from_text("9223372036854775813"));
  const std::string numbers =
      "ids that are text, or above 2^63 - 1 (numbers made of the text stand for them, the same in every file): ";
  const std::string no_size = "images without height and width (taken from the picture): ";
  return {
      {"good", json::array(), {}, {}},
      {"fraction", set("/images/0/id", 1.0), {}, {}},
      {"text id",
       {{{"op", "add"}, {"path", "/images/0/id"}, {"value", "x"}},
        {{"op", "add"}, {"path", "/annotations/0/image_id"}, {"value", "x"}}},
       {"1 " + numbers + "images[0].id \"x\" is " + text_id},
       {"2 " + numbers + "annotations[0].image_id \"x\" is " + text_id + "; images[0].id \"x\" is " + text_id}},
      {"huge id",
       {{{"op", "add"}, {"path", "/images/0/id"}, {"value", 9223372036854775813U}},
        {{"op", "add"}, {"path", "/annotations/0/image_id"}, {"value", 9223372036854775813U}}},
       {"1 " + numbers + "images[0].id 9223372036854775813 is " + huge_id},
       {"2 " + numbers + "annotations[0].image_id 9223372036854775813 is " + huge_id +
        "; images[0].id 9223372036854775813 is " + huge_id}},
      {"size 0",
       {{{"op", "add"}, {"path", "/images/0/width"}, {"value", 0}},
        {{"op", "add"}, {"path", "/images/0/height"}, {"value", 0}}},
       {},
       {"1 " + no_size + "images[0] (id 1): 20 x 30 (height x width)"}},
      {"size null",
       set("/images/1/width", nullptr),
       {},
       {"1 " + no_size + "images[1] (id 2): 20 x 30 (height x width)"}},
      {"backslash",
       set("/images/1/file_name", "sub\\b.png"),
       {"1 file names with backslashes (kept; where there is no such picture, it is looked for with / in their place): "
        "images[1].file_name 'sub\\b.png'"},
       {"1 file names with backslashes (kept; where there is no such picture, it is looked for with / in their place): "
        "images[1].file_name 'sub\\b.png'"}},
      {"same id twice",
       set("/annotations/1/id", 1),
       {},
       {"1 annotations without an id of their own (given new ones): annotations[1] (id 1): now 2"}},
      {"no area",
       remove("/annotations/0/area"),
       {},
       {"1 annotations without an area (taken from the mask): annotations[0] (id 1): 80"}},
      {"no box",
       remove("/annotations/0/bbox"),
       {},
       {"1 annotations without a box (taken from the mask): annotations[0] (id 1)"}},
      {"no iscrowd", remove("/annotations/0/iscrowd"), {}, {}},
      {"orphan",
       set("/annotations/-", {{"id", 3}, {"image_id", 99}, {"category_id", 1}, {"bbox", {0, 0, 1, 1}}, {"score", 1}}),
       {},
       {"1 annotations of images that the file lacks (left out): annotations[2] (id 3): image 99"}},
      {"unknown category",
       set("/annotations/-", {{"id", 3}, {"image_id", 1}, {"category_id", 4}, {"bbox", {0, 0, 1, 1}}, {"score", 1}}),
       {},
       {"1 annotations of categories that the file lacks (left out): annotations[2] (id 3): category 4"}},
      {"two points",
       set("/annotations/0/segmentation/0", json({2, 3, 12, 11})),
       {},
       {"1 polygons of fewer than three points (left out): annotations[0].segmentation[0]: 2 points"}},
      {"two points alone",
       set("/annotations/0/segmentation", json({{2, 3, 12, 11}})),
       {},
       {"1 polygons of fewer than three points (left out): annotations[0].segmentation[0]: 2 points",
        "1 annotations of which no polygon is left (kept without a mask): annotations[0]"},
       nullptr,
       false},
      {"no mask", set("/annotations/0/segmentation", json::array()), {}, {}, nullptr, false},
      {"partly outside",
       set("/annotations/1/bbox", {25, 10, 10, 10}),
       {},
       {"1 boxes that reach beyond their image (kept as they are): annotations[1] (id 2).bbox: [25, 10, 10, 10] in 20 "
        "x "
        "30"}},
      {"odd polygon",
       set("/annotations/0/segmentation/0/8", 3),
       {},
       {},
       "annotations[0].segmentation[0]: expected x y pairs, got 9 numbers"},
      {"negative size",
       set("/annotations/0/bbox", {2, 3, -1, 8}),
       {},
       {},
       "annotations[0].bbox: expected width and height of at least 0"},
      {"outside",
       set("/annotations/0/bbox", {40, 3, 2, 2}),
       {},
       {},
       "annotations[0] (id 1).bbox: expected a box in its image"},
      {"other mask",
       set("/annotations/0/segmentation", {{"size", {10, 10}}, {"counts", {100}}}),
       {},
       {},
       "annotations[0] (id 1).segmentation.size: expected the size of image 1, 20 x 30"},
  };
}

class ReadingTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "pictures/sub");
    Tensor picture = Tensor::full({20, 30, 3}, 200, DType::kU8);
    picture.slice(0, 3, 11).slice(1, 2, 12).fill(20);
    io::write_png(folder_ / "pictures/a.png", picture);
    io::write_png(folder_ / "pictures/sub/b.png", picture);
    test::write_text(folder_ / "good.json", sample().dump());
  }
  test::ProcessResult run(Words words) const {
    words.insert(words.end(), {"--threads", "1"});  // the files are tiny
    return test::run_here(words, folder_.path().string());
  }
  // What is said about odd.json.
  static Words said(const std::string& err) {
    Words lines;
    std::istringstream in(err);
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("warning: ")) line.erase(0, 9);
      if (line.starts_with("odd.json: ")) lines.push_back(line.substr(10));
    }
    return lines;
  }

  test::TempDir folder_;
};

struct Reading {
  const char* name;
  Words words;
  bool needs_masks = false;
};

TEST_F(ReadingTest, EveryVerbSaysTheSameAboutAnnotations) {
  const std::vector<Reading> readings = {
      {"gt", {"gt", "odd.json", "--image-root", "pictures", "--out", "o.json", "--force"}},
      {"truth of eval",
       {"eval", "--gt", "odd.json", "--pred", "odd.json", "--image-root", "pictures", "--match", "id", "--out",
        "o.json", "--force"},
       true},
      {"predictions of eval",
       {"eval", "--gt", "good.json", "--pred", "odd.json", "--image-root", "pictures", "--match", "file_name", "--out",
        "o.json", "--force"},
       true},
      {"eval --saliency",
       {"eval", "--saliency", "--gt", "odd.json", "--pred", "odd.json", "--image-root", "pictures", "--out", "o.json",
        "--force"},
       true},
      {"previous of merge",
       {"merge", "--self-training", "--previous", "odd.json", "--predictions", "none.json", "--image-root", "pictures",
        "--out", "o.json", "--force"},
       true},
      {"run of report", {"report", "odd.json", "--images", "pictures", "--out", "o.html", "--force"}},
      {"truth of report",
       {"report", "good.json", "--annotations", "odd.json", "--images", "pictures", "--out", "o.html", "--force"},
       true},
      {"truth of sweep",
       {"sweep", "pictures", "--backbone", "colour", "--size", "32", "--param", "tau=0.1,0.2", "--annotations",
        "odd.json", "--out", "sweep", "--dry-run"},
       true},
  };
  test::write_text(folder_ / "none.json", "[]");
  for (const OddFile& odd : odd_files()) {
    test::write_text(folder_ / "odd.json", sample().patch(odd.patch).dump());
    for (const Reading& reading : readings) {
      SCOPED_TRACE(std::string(odd.name) + ", " + reading.name);
      const test::ProcessResult result = run(reading.words);
      Words expected = odd.of_annotations;
      const bool twice = std::count(reading.words.begin(), reading.words.end(), "odd.json") == 2;
      if (twice) expected.insert(expected.end(), odd.of_annotations.begin(), odd.of_annotations.end());
      if (odd.error != nullptr) {
        EXPECT_EQ(result.status, kFailure) << result.err;
        EXPECT_THAT(result.err, HasSubstr(std::string("odd.json: ") + odd.error));
        continue;
      }
      EXPECT_THAT(said(result.err), ElementsAreArray(expected)) << result.err;
      if (odd.has_all_masks || !reading.needs_masks) {
        EXPECT_EQ(result.status, kSuccess) << result.err;
      }
    }
  }
}

TEST_F(ReadingTest, EveryVerbSaysTheSameAboutItsPictures) {
  const std::vector<Reading> readings = {
      {"maskcut", {"maskcut", "odd.json", "--out", "o.json"}},
      {"features", {"features", "odd.json", "--out", "o"}},
      {"discover", {"discover", "odd.json", "--method", "lost", "--out", "o.json"}},
      {"run", {"run", "odd.json", "--out", "o"}},
      {"sweep", {"sweep", "odd.json", "--param", "tau=0.1,0.2", "--out", "o"}},
  };
  for (const OddFile& odd : odd_files()) {
    test::write_text(folder_ / "odd.json", sample().patch(odd.patch).dump());
    for (const Reading& reading : readings) {
      SCOPED_TRACE(std::string(odd.name) + ", " + reading.name);
      Words words = reading.words;
      words.insert(words.end(), {"--image-root", "pictures", "--backbone", "colour", "--size", "32", "--dry-run"});
      const test::ProcessResult result = run(words);
      EXPECT_EQ(result.status, kSuccess) << result.err;
      EXPECT_THAT(said(result.err), ElementsAreArray(odd.of_images)) << result.err;
      EXPECT_THAT(result.err, testing::Not(HasSubstr("would fail"))) << result.err;
    }
  }
}

TEST_F(ReadingTest, WarningsAreNotSilencedAndNotesAre) {
  json document = sample();
  document["annotations"][0].erase("area");
  document["annotations"][1]["image_id"] = 99;
  test::write_text(folder_ / "odd.json", document.dump());
  const test::ProcessResult result = run({"gt", "odd.json", "-q", "--out", "o.json"});
  EXPECT_EQ(result.status, kSuccess);
  EXPECT_EQ(result.err,
            "warning: odd.json: 1 annotations of images that the file lacks (left out): annotations[1] (id 2): image "
            "99\n");
}

TEST_F(ReadingTest, WhatIsMadeOfOddIdsBelongsToThem) {
  json document = sample();
  document["images"][0]["id"] = "x";
  document["annotations"][0]["image_id"] = "x";
  test::write_text(folder_ / "odd.json", document.dump());
  ASSERT_EQ(run({"gt", "odd.json", "--out", "o.json"}).status, kSuccess);
  const io::AnnotationSet written = io::read_coco(folder_ / "o.json");
  EXPECT_TRUE(written.report.empty());  // its ids are plain numbers
  EXPECT_EQ(written.images[0].id, io::id_from_text("x"));
  // The numbers are those of the text in the first file: the two compare by id.
  const auto result = run({"eval", "--gt", "odd.json", "--pred", "o.json", "--pseudo-masks", "--out", "m.json"});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  EXPECT_EQ(json::parse(test::read_text(folder_ / "m.json"))["mask"]["AP"], 1);
  // A round of self-training as the public script writes it copies the records of images, with these numbers.
  test::write_text(folder_ / "none.json", "[]");
  ASSERT_EQ(run({"merge", "--self-training", "--preset", "release", "--previous", "odd.json", "--predictions",
                 "none.json", "--out", "round.json"})
                .status,
            kSuccess);
  EXPECT_EQ(json::parse(test::read_text(folder_ / "round.json"))["images"][0]["id"], io::id_from_text("x"));
}

TEST_F(ReadingTest, ExchangedSidesNameTheirRemedy) {
  json document = sample();
  document["annotations"].erase(1);
  document["annotations"][0]["segmentation"] = {{"size", {30, 20}}, {"counts", {0, 600}}};
  for (json& image : document["images"]) std::swap(image["width"], image["height"]);
  document["annotations"][0]["bbox"] = {0, 0, 20, 30};
  test::write_text(folder_ / "turned.json", document.dump());
  const auto result = run({"eval", "--gt", "good.json", "--pred", "turned.json", "--match", "id", "--out", "m.json"});
  EXPECT_EQ(result.status, kFailure);
  EXPECT_THAT(result.err, HasSubstr("turned.json: annotations[0] (id 1): its mask has 30 x 20 pixels"));
  EXPECT_THAT(result.err, HasSubstr("the setting exif"));
}

}  // namespace
}  // namespace usol::cli
