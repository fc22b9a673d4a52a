// COCO JSON in and out: round trips, the exchanged sizes of the release, and an error with its place for bad input.
#include "usol/io/coco.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using nlohmann::json;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class Coco : public testing::Test {
 protected:
  AnnotationSet read(const std::string& text, const CocoReadOptions& options = {}) {
    std::ofstream(path_, std::ios::binary) << text;  // write_file would wait for the disk each time
    return read_coco(path_, options);
  }
  AnnotationSet read(const json& document, const CocoReadOptions& options = {}) {
    return read(document.dump(), options);
  }
  // The message without the folder; "no error" if there is none.
  std::string error_of(const std::string& text) {
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat);
      const std::string message = error.what();
      const std::string folder = folder_.path().string() + "/";
      EXPECT_EQ(message.find(folder), 0) << message;
      return message.substr(folder.size());
    }
    return "no error";
  }
  std::string error_of(const json& document) { return error_of(document.dump()); }

  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "a.json";
};

// Two images, two categories; a polygon, a crowd with uncompressed counts, a compressed RLE and a box alone.
json sample() {
  return json::parse(R"({
    "info": {"description": "sample", "year": 2017},
    "licenses": [{"id": 1, "name": "CC0"}, {"id": 2}],
    "images": [
      {"id": 7, "width": 4, "height": 3, "file_name": "a \"quoted\" näme.jpg", "flickr_url": "ignored"},
      {"id": 3, "width": 6, "height": 5, "coco_url": "http://host/train2017/000000000003.jpg"}],
    "categories": [
      {"id": 1, "name": "person", "supercategory": "being", "keypoints": ["nose"]},
      {"id": 18, "name": "dog"}],
    "annotations": [
      {"id": 1, "image_id": 7, "category_id": 18, "bbox": [0.5, 1, 2.25, 1], "area": 2.5, "iscrowd": 0,
       "segmentation": [[0.5, 1, 2.75, 1, 2.75, 2, 0.5, 2]], "extra": {"deep": [1, {"a": null}]}},
      {"id": 2, "image_id": 3, "category_id": 1, "bbox": [1, 0, 2, 5], "area": 8, "iscrowd": 1,
       "segmentation": {"size": [5, 6], "counts": [6, 4, 1, 4, 15]}},
      {"id": 9, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 3], "area": 12, "iscrowd": 0, "score": 0.25,
       "segmentation": {"size": [3, 4], "counts": "0<"}},
      {"id": 10, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, "segmentation": []}]
  })");
}

TEST_F(Coco, ReadsADataSet) {
  const AnnotationSet set = read(sample());
  EXPECT_FALSE(set.is_results);
  EXPECT_EQ(json::parse(set.info_json), sample()["info"]);
  EXPECT_EQ(json::parse(set.licenses_json), sample()["licenses"]);
  ASSERT_EQ(set.images.size(), 2);
  EXPECT_EQ(set.images[0].file_name, "a \"quoted\" näme.jpg");
  EXPECT_EQ(set.images[1].file_name, "train2017/000000000003.jpg");
  EXPECT_EQ(set.images[1].height, 5);
  ASSERT_EQ(set.categories.size(), 2);
  EXPECT_EQ(set.categories[0].supercategory, "being");
  ASSERT_EQ(set.annotations.size(), 4);
  EXPECT_EQ(set.annotations[0].box, (Box{0.5, 1, 2.25, 1}));
  EXPECT_EQ(set.annotations[0].area, 2.5);
  EXPECT_FALSE(set.annotations[0].has_score);
  EXPECT_EQ(set.polygons(set.annotations[0].segmentation),
            (std::vector<std::vector<double>>{{0.5, 1, 2.75, 1, 2.75, 2, 0.5, 2}}));
  EXPECT_EQ(set.rle(set.annotations[0], 3, 4), rle_from_polygons(set.polygons(set.annotations[0].segmentation), 3, 4));
  EXPECT_TRUE(set.annotations[1].is_crowd);
  EXPECT_EQ(set.rle(set.annotations[1], 5, 6), (Rle{5, 6, {6, 4, 1, 4, 15}}));
  EXPECT_EQ(set.rle(set.annotations[2], 3, 4), (Rle{3, 4, {0, 12}}));
  EXPECT_EQ(set.annotations[2].score, 0.25);
  EXPECT_EQ(set.annotations[3].segmentation.kind, Segmentation::Kind::kNone);
  EXPECT_EQ(read(sample(), {.segmentations = false}).arena.bytes(), 0);
}

TEST_F(Coco, ReadsTheSameInAnyOrderAndLayout) {
  const AnnotationSet set = read(sample());
  for (const int indent : {-1, 4}) {
    const AnnotationSet other = read(sample().dump(indent));  // nlohmann::json sorts the keys: annotations come first
    ASSERT_EQ(other.annotations.size(), set.annotations.size());
    EXPECT_EQ(other.rle(other.annotations[1], 5, 6), set.rle(set.annotations[1], 5, 6));
  }
}

TEST_F(Coco, ReadsResults) {
  const AnnotationSet set = read(json::parse(R"([
    {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3.5, 4], "score": 0.75},
    {"image_id": 4.0, "category_id": 2, "score": 1, "segmentation": {"size": [1, 2], "counts": "02"}, "bbox": []}])"));
  EXPECT_TRUE(set.is_results);
  ASSERT_EQ(set.annotations.size(), 2);
  EXPECT_EQ(set.annotations[0].box, (Box{1, 2, 3.5, 4}));
  EXPECT_EQ(set.annotations[1].image_id, 4);
  EXPECT_FALSE(set.annotations[1].has_box);
  EXPECT_EQ(set.rle(set.annotations[1], 1, 2).counts, (std::vector<std::uint32_t>{0, 2}));
  EXPECT_TRUE(read(std::string("[]")).annotations.empty());
}

TEST_F(Coco, ReadsManyRecordsInOrder) {
  json results = json::array();
  for (int i = 0; i < 10000; ++i) {
    results.push_back({{"image_id", i % 97}, {"category_id", 1}, {"score", i / 10000.0}, {"bbox", {i, 1, 2, 3}}});
  }
  const AnnotationSet set = read(results);
  ASSERT_EQ(set.annotations.size(), 10000);
  for (int i = 0; i < 10000; ++i) ASSERT_EQ(set.annotations[static_cast<std::size_t>(i)].box[0], i);
}

TEST_F(Coco, WritesWhatItReads) {
  const AnnotationSet set = read(sample());
  write_coco(folder_ / "b.json", set);
  const AnnotationSet again = read_coco(folder_ / "b.json");
  EXPECT_EQ(json::parse(again.info_json), sample()["info"]);
  EXPECT_EQ(json::parse(again.licenses_json), sample()["licenses"]);
  ASSERT_EQ(again.images.size(), set.images.size());
  for (std::size_t i = 0; i < set.images.size(); ++i) {
    EXPECT_EQ(again.images[i].file_name, set.images[i].file_name);
    EXPECT_EQ(again.images[i].width, set.images[i].width);
  }
  ASSERT_EQ(again.annotations.size(), set.annotations.size());
  for (std::size_t i = 0; i < set.annotations.size(); ++i) {
    EXPECT_EQ(again.annotations[i].id, set.annotations[i].id);
    EXPECT_EQ(again.annotations[i].box, set.annotations[i].box);
    EXPECT_EQ(again.annotations[i].has_score, set.annotations[i].has_score);
    EXPECT_EQ(again.annotations[i].segmentation.kind, set.annotations[i].segmentation.kind);
  }
  write_coco(folder_ / "c.json", again);
  EXPECT_EQ(read_text(folder_ / "b.json"), read_text(folder_ / "c.json"));
}

TEST_F(Coco, WriterKeepsOrderAndWritesPlainJson) {
  {
    CocoWriter writer(folder_ / "w.json");
    CocoAnnotation annotation;
    annotation.id = 1;
    annotation.image_id = 5;
    annotation.category_id = 1;
    annotation.box = {0, 1, 2, 0.1};
    annotation.area = 2;
    writer.add_annotation(annotation, Rle{2, 3, {1, 2, 3}});
    writer.add_image({5, 2, 3, "back\\slash.jpg"});
    annotation.id = 2;
    annotation.has_score = true;
    annotation.score = 1.0 / 3;
    writer.add_annotation(annotation, Rle{2, 3, {6}});
    writer.add_image({4, 2, 3, "b.jpg"});
    EXPECT_FALSE(std::filesystem::exists(folder_ / "w.json"));
    const std::vector<CocoCategory> categories = {{1, "fg", "fg"}};
    writer.finish(categories, R"({"version": "1"})");
  }
  EXPECT_EQ(read_text(folder_ / "w.json"),
            R"({"annotations": [
{"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 2, "bbox": [0, 1, 2, 0.1], "segmentation": {"size": [2, 3], "counts": "123"}, "width": 3, "height": 2},
{"id": 2, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 2, "bbox": [0, 1, 2, 0.1], "score": 0.3333333333333333, "segmentation": {"size": [2, 3], "counts": "6"}, "width": 3, "height": 2}
],
"images": [
{"id": 5, "file_name": "back\\slash.jpg", "height": 2, "width": 3},
{"id": 4, "file_name": "b.jpg", "height": 2, "width": 3}
],
"categories": [
{"id": 1, "name": "fg", "supercategory": "fg"}
],
"info": {"version": "1"}}
)");
  EXPECT_EQ(read_coco(folder_ / "w.json").images[0].file_name, "back\\slash.jpg");
}

TEST_F(Coco, AnUnfinishedWriterLeavesNothing) {
  { CocoWriter writer(folder_ / "w.json"); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  CocoWriter writer(folder_ / "w.json");
  EXPECT_THROW(writer.add_image({1, 1, 1, "not utf-8 \xff"}), Error);
  CocoAnnotation annotation;
  annotation.area = 1.0 / 0.0;
  EXPECT_THROW(writer.add_annotation(annotation, Rle{1, 1, {1}}), Error);
}

TEST_F(Coco, ResultsWriterWritesWhatItReads) {
  CocoAnnotation detection;
  detection.image_id = 3;
  detection.category_id = 1;
  detection.box = {1, 2, 3, 4};
  detection.score = 0.5;
  CocoResultsWriter writer(folder_ / "r.json");
  writer.add(detection, Rle{2, 2, {1, 3}});
  writer.add(detection);
  writer.finish();
  const AnnotationSet set = read_coco(folder_ / "r.json");
  ASSERT_EQ(set.annotations.size(), 2);
  EXPECT_EQ(set.annotations[0].box, detection.box);
  EXPECT_EQ(set.annotations[0].score, 0.5);
  EXPECT_EQ(set.rle(set.annotations[0], 2, 2).counts, (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(set.annotations[1].segmentation.kind, Segmentation::Kind::kNone);
}

TEST_F(Coco, PutsExchangedImageSizesRight) {
  json document = sample();
  for (json& image : document["images"]) std::swap(image["width"], image["height"]);
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.report.count(ReadingKind::kSidesSwapped), 2);
  EXPECT_EQ(set.images[0].width, 4);
  EXPECT_EQ(set.images[0].height, 3);
  // Two masks of one image that prove opposite sizes contradict each other.
  document["annotations"].push_back(
      {{"id", 11}, {"image_id", 7}, {"category_id", 1}, {"segmentation", {{"size", {4, 3}}, {"counts", "0<"}}}});
  EXPECT_EQ(error_of(document),
            "a.json: annotations[4] (id 11).segmentation.size: expected the size of image 7, 3 x 4 (height x width), "
            "got 4 x 3");
}

TEST_F(Coco, TakesAMissingImageSizeFromTheMask) {
  json document = sample();
  document["images"][0].erase("width");
  document["images"][0].erase("height");
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.images[0].width, 4);
  EXPECT_EQ(set.images[0].height, 3);
}

TEST_F(Coco, ErrorsNameRecordAndField) {
  struct Case {
    const char* pointer;
    json value;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"/images/1/id", 7, "images[1].id: expected a new id, got 7 of images[0]"},
      {"/categories/1/id", 1, "categories[1].id: expected a new id, got 1 of categories[0]"},
      {"/annotations/0/bbox", json({1, 2, 3}), "annotations[0].bbox: expected 4 numbers, got [1,2,3]"},
      {"/annotations/0/bbox", json({1, 2, -3, 1}),
       "annotations[0].bbox: expected width and height of at least 0, got [1,2,-3,1]"},
      {"/annotations/0/bbox", json({1, 2, "3", 1}), "annotations[0].bbox: expected a number, got \"3\""},
      {"/annotations/0/area", "big", "annotations[0].area: expected a number, got \"big\""},
      {"/annotations/0/score", nullptr, "annotations[0].score: expected a number, got null"},
      {"/annotations/0/iscrowd", 2, "annotations[0].iscrowd: expected 0 or 1, got 2"},
      {"/annotations/0/image_id", "", "annotations[0].image_id: expected an id, got an empty text"},
      {"/annotations/0/image_id", true, "annotations[0].image_id: expected an integer, got true"},
      {"/annotations/0/image_id", 1e18,
       "annotations[0].image_id: expected an integer, got 1e+18, whose last digits are lost: write it without point "
       "and "
       "exponent"},
      {"/annotations/0/area", -1, "annotations[0].area: expected at least 0, got -1"},
      {"/annotations/0/bbox", json({6, 0, 2, 2}),
       "annotations[0] (id 1).bbox: expected a box in its image of 3 x 4 (height x width), got [6, 0, 2, 2] (left, "
       "top, "
       "width, height), which is wholly outside"},
      {"/annotations/0/segmentation/0/7", json(), "annotations[0].segmentation[0]: expected a number, got null"},
      {"/annotations/0/segmentation/0", json({1, 2, 3, 4, 5, 6, 7}),
       "annotations[0].segmentation[0]: expected x y pairs, got 7 numbers"},
      {"/annotations/0/segmentation/0/0", 2e7,
       "annotations[0].segmentation[0]: expected coordinates within 1e7, got 2"},
      {"/annotations/0/image_id", 7.5, "annotations[0].image_id: expected an integer, got 7.5"},
      {"/annotations/0/segmentation", "x",
       "annotations[0].segmentation: expected an RLE object or polygons, got \"x\""},
      {"/annotations/0/segmentation", json({1, 2}),
       "annotations[0].segmentation: expected polygons (arrays of numbers), got 1"},
      {"/annotations/1/segmentation/counts", json({6, 4}),
       "annotations[1].segmentation: rle_from_counts: expected counts that add up to 30 (5 x 6), got 10 from 2 counts"},
      {"/annotations/1/segmentation/counts/0", -1,
       "annotations[1].segmentation.counts: expected counts of 0 to 2^32 - 1, got -1"},
      {"/annotations/2/segmentation/counts", "0~",
       "annotations[2].segmentation: rle_from_string: expected characters '0' to 'o', got code 126 at offset 1"},
      {"/annotations/2/segmentation/size", json({2, 6}),
       "annotations[2] (id 9).segmentation.size: expected the size of image 7, 3 x 4 (height x width), got 2 x 6"},
      {"/annotations/2/segmentation/size", 3, "annotations[2].segmentation: expected \"size\": [height, width]"},
      {"/annotations/2/segmentation/size", json({-3, -4}),
       "annotations[2].segmentation.size: expected sizes of 0 to 2^31 - 1, got -3 x -4"},
      {"/images/0/width", -4, "images[0].width: expected 0 (not known) to 2^31 - 1, got -4"},
      {"/images/0/width", 4.5, "images[0].width: expected an integer, got 4.5"},
      {"/images/0/file_name", 5, "images[0].file_name: expected a string, got 5"},
      {"/images/0", 5, "images[0]: expected an object, got 5"},
      {"/images", 5, "images: expected an array at byte "},
  };
  for (const Case& c : cases) {
    json document = sample();
    document[json::json_pointer(c.pointer)] = c.value;
    EXPECT_THAT(error_of(document), testing::StartsWith(std::string("a.json: ") + c.message));
  }
  json document = sample();
  document["annotations"][3].erase("image_id");
  EXPECT_EQ(error_of(document), "a.json: annotations[3].image_id: missing");
  document = sample();
  document["images"][0].erase("id");
  EXPECT_EQ(error_of(document), "a.json: images[0].id: missing");
  EXPECT_EQ(error_of(std::string(R"({"a": 1})")),
            "a.json: expected a COCO data set (an object with images and annotations) or a list of results, got an "
            "object without either");
  EXPECT_EQ(error_of(std::string(R"({"images": [], "images": []})")), "a.json: the key \"images\" stands twice");
}

TEST_F(Coco, NamesTheFieldOfANumberThatIsNotFinite) {
  const std::string start = R"([{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}, {"image_id": 1, "note": "NaN", )";
  EXPECT_EQ(error_of(start + R"("score": NaN}])"), "a.json: [1].score: expected a finite number, got NaN");
  EXPECT_EQ(error_of(start + R"("bbox": [0, -Infinity, 1, 1]}])"),
            "a.json: [1].bbox: expected a finite number, got -Infinity");
  EXPECT_THAT(error_of(start + R"("score": 0.5.5}])"),
              testing::StartsWith("a.json: [1]: malformed JSON in the record at byte 54: "));
}

TEST_F(Coco, TheFirstOfSeveralErrorsIsNamed) {
  json results = json::array();
  for (int i = 0; i < 3000; ++i) results.push_back({{"image_id", i < 1000 ? json(i) : json(0.5)}});
  EXPECT_EQ(error_of(results), "a.json: [1000].image_id: expected an integer, got 0.5");
}

TEST_F(Coco, EveryCutIsAnError) {
  const std::string text = sample().dump();
  for (std::size_t size = 0; size < text.size(); size += 3) EXPECT_NE(error_of(text.substr(0, size)), "no error");
}

TEST(IdIndex, FindsPositionsAndDuplicates) {
  const IdIndex index({5, -3, 9});
  EXPECT_EQ(index.find(-3), 1);
  EXPECT_EQ(index.find(9), 2);
  EXPECT_EQ(index.find(4), -1);
  EXPECT_FALSE(index.duplicate());
  EXPECT_EQ(IdIndex({4, 2, 4}).duplicate(), (std::pair<std::int64_t, std::int64_t>{0, 2}));
}

TEST(ByteArena, KeepsLargeAndSmall) {
  ByteArena arena;
  const auto small = arena.add("abc");
  const auto large = arena.add(std::string(5 << 20, 'x'));
  const auto empty = arena.add("");
  EXPECT_EQ(arena.view(small), "abc");
  EXPECT_EQ(arena.view(large).size(), 5u << 20);
  EXPECT_EQ(arena.view(empty), "");
}

}  // namespace
}  // namespace usol::io
