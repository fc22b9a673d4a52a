// What the reader of COCO and VOC files fills in, changes, leaves out and says about it. Areas and boxes are
// pycocotools' (tests/golden/make_coco_repair.py).
#include "usol/io/coco_repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image.h"
#include "usol/io/picture_path.h"
#include "usol/io/voc.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

using Counts = std::map<ReadingKind, std::int64_t>;

Counts counts(const ReadingReport& report) {
  Counts counts;
  for (const auto& [kind, text] : report.lines()) counts[kind] = report.count(kind);
  return counts;
}

// Two images of 20 x 30, three objects.
json sample() {
  return json::parse(R"({
    "images": [{"id": 1, "width": 30, "height": 20, "file_name": "a.png"},
               {"id": 2, "width": 30, "height": 20, "file_name": "sub/b.png"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
      {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8], "area": 80, "iscrowd": 0,
       "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]]},
      {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0,
       "segmentation": {"size": [20, 30], "counts": [0, 4, 16, 4, 16, 4, 16, 4, 536]}},
      {"id": 3, "image_id": 2, "category_id": 1, "bbox": [20, 10, 10, 10], "area": 100, "iscrowd": 0,
       "segmentation": [[20, 10, 30, 10, 30, 20, 20, 20]]}]})");
}

class CocoRepair : public testing::Test {
 protected:
  AnnotationSet read(const json& document, const CocoReadOptions& options = {}) {
    return read_text(document.dump(), options);
  }
  AnnotationSet read_text(const std::string& text, const CocoReadOptions& options = {}) {
    std::ofstream(path_, std::ios::binary) << text;
    return read_coco(path_, options);
  }
  std::string error_of(const json& document, const CocoReadOptions& options = {}) {
    try {
      read(document, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat);
      return error.what();
    }
    return "no error";
  }
  void make_pictures() {
    std::filesystem::create_directories(folder_ / "pictures/sub");
    write_png(folder_ / "pictures/a.png", Tensor::zeros({20, 30, 3}, DType::kU8));
    write_png(folder_ / "pictures/sub/b.png", Tensor::zeros({20, 30, 3}, DType::kU8));
  }

  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "a.json";
};

TEST_F(CocoRepair, SaysNothingAboutAGoodFile) {
  const AnnotationSet set = read(sample());
  EXPECT_TRUE(set.report.empty());
  EXPECT_TRUE(set.report.lines().empty());
}

TEST_F(CocoRepair, AreasAndBoxesArePycocotools) {
  const json golden = json::parse(test::read_text(test::golden_path("coco_repair.json")));
  const AnnotationSet set = read(golden["dataset"]);
  const json& expected = golden["expected"];
  ASSERT_EQ(set.annotations.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(set.annotations[i].area, expected[i]["area"].get<double>()) << i;
    EXPECT_EQ(set.annotations[i].box, expected[i]["bbox"].get<Box>()) << i;
  }
  const auto total = static_cast<std::int64_t>(expected.size());
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kAreaFromMask, total}, {ReadingKind::kBoxFromMask, total}}));
  // Without masks they are the same numbers, and no mask is kept.
  const AnnotationSet boxes = read(golden["dataset"], {.segmentations = false});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(boxes.annotations[i].area, set.annotations[i].area);
    EXPECT_EQ(boxes.annotations[i].segmentation.kind, Segmentation::Kind::kNone);
  }
}

TEST_F(CocoRepair, WithoutAMaskTheAreaIsTheBoxs) {
  json document = sample();
  document["annotations"][0].erase("area");
  document["annotations"][0]["segmentation"] = json::array();
  document["annotations"][1]["area"] = nullptr;
  document["annotations"][1].erase("segmentation");
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.annotations[0].area, 80);
  EXPECT_EQ(set.annotations[1].area, 16);
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kAreaFromBox, 2}}));
}

TEST_F(CocoRepair, IdsBeyondDoublesStayThemselves) {
  const std::string text = R"({"images": [{"id": 9007199254740993}, {"id": -9223372036854775808}, {"id": 3.0},
    {"id": 9223372036854775807}], "annotations": [{"id": 1, "image_id": 9007199254740993, "bbox": [0, 0, 1, 1],
    "area": 1}]})";
  const AnnotationSet set = read_text(text);
  EXPECT_EQ(set.images[0].id, 9007199254740993);
  EXPECT_EQ(set.images[1].id, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(set.images[2].id, 3);
  EXPECT_EQ(set.images[3].id, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(set.annotations[0].image_id, 9007199254740993);
  EXPECT_EQ(set.report.count(ReadingKind::kTextId), 0);
  try {
    read_text(R"({"images": [{"id": 123456789012345678901}]})");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("images[0].id: expected a number below 2^64, got 123456789012345678901"));
  }
}

TEST(IdFromText, IsTheSameEverywhere) {
  EXPECT_EQ(id_from_text("42"), 42);
  EXPECT_EQ(id_from_text("000000000139"), 139);  // as COCO's files are named
  EXPECT_EQ(id_from_text("-7"), -7);
  // sha256("cat") = 77af778b51abd..., sha256("9223372036854775813") = f58b4b3a30a4f..., by sha256sum
  EXPECT_EQ(id_from_text("cat"), (std::int64_t{1} << 52) + 0x77af778b51abd);
  EXPECT_EQ(id_from_text("9223372036854775813"), (std::int64_t{1} << 52) + 0xf58b4b3a30a4f);
  for (const char* text : {"cat", "", "-", "1.5", "9223372036854775813", "Katze ä"}) {
    EXPECT_GE(id_from_text(text), std::int64_t{1} << 52) << text;
    EXPECT_LT(id_from_text(text), std::int64_t{1} << 53) << text;  // a double holds it
  }
}

TEST_F(CocoRepair, TextAndHugeIdsBecomeNumbers) {
  json document = sample();
  document["images"][0]["id"] = "street/7";
  document["images"][1]["id"] = 9223372036854775813U;
  document["categories"][0]["id"] = "cat";
  document["annotations"][0]["id"] = "first";
  document["annotations"][0]["image_id"] = "street/7";
  document["annotations"][0]["category_id"] = "cat";
  document["annotations"][1]["image_id"] = "9223372036854775813";
  document["annotations"][2]["image_id"] = 9223372036854775813U;
  document["annotations"][2]["category_id"] = "cat";
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.images[0].id, id_from_text("street/7"));
  EXPECT_EQ(set.annotations[0].image_id, set.images[0].id);
  EXPECT_EQ(set.annotations[1].image_id, set.images[1].id);
  EXPECT_EQ(set.annotations[2].image_id, set.images[1].id);
  EXPECT_EQ(set.annotations[0].category_id, set.categories[0].id);
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kTextId, 9}}));
  // A list of results means the same images.
  const AnnotationSet results = read_text(R"([{"image_id": "street/7", "category_id": "cat", "score": 1}])");
  EXPECT_EQ(results.annotations[0].image_id, set.images[0].id);
  EXPECT_EQ(results.report.count(ReadingKind::kTextId), 2);
  // Two ids that become one number are refused.
  document = sample();
  document["images"][0]["id"] = "02";
  EXPECT_THAT(error_of(document), HasSubstr("images[1].id: expected a new id, got 2 of images[0] (of ids that are "
                                            "text, the numbers are compared)"));
}

TEST_F(CocoRepair, AnnotationsGetIdsOfTheirOwn) {
  json document = sample();
  document["annotations"][1]["id"] = 1;
  document["annotations"][2].erase("id");
  document["annotations"].push_back(document["annotations"][0]);
  document["annotations"][3]["id"] = 6;
  const AnnotationSet set = read(document);
  std::vector<std::int64_t> ids;
  for (const CocoAnnotation& annotation : set.annotations) ids.push_back(annotation.id);
  EXPECT_THAT(ids, ElementsAre(1, 7, 8, 6));
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kNewId, 2}}));
  EXPECT_THAT(set.report[ReadingKind::kNewId].examples,
              ElementsAre("annotations[1] (id 1): now 7", "annotations[2]: now 8"));
}

TEST_F(CocoRepair, OrphansAreLeftOutAndPlacesStayTheFiles) {
  json document = sample();
  document["annotations"][0]["image_id"] = 99;
  document["annotations"][1]["category_id"] = 7;
  const AnnotationSet set = read(document);
  ASSERT_EQ(set.annotations.size(), 1u);
  EXPECT_EQ(set.annotations[0].id, 3);
  EXPECT_THAT(to_string(set.place(set.annotations[0])), testing::EndsWith("a.json: annotations[2] (id 3)"));
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kNoImage, 1}, {ReadingKind::kNoCategory, 1}}));
  EXPECT_EQ(set.report.lines()[0].second,
            "1 annotations of images that the file lacks (left out): annotations[0] (id 1): image 99");
  document.erase("categories");  // a file that has none does not lack one
  EXPECT_EQ(read(document).annotations.size(), 2u);
}

TEST_F(CocoRepair, ShortPolygonsAreLeftOut) {
  json document = sample();
  document["annotations"][0]["segmentation"].insert(document["annotations"][0]["segmentation"].begin(),
                                                    json({2, 3, 12, 11}));
  document["annotations"][2]["segmentation"] = json::parse("[[20, 10, 30, 10], []]");
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.polygons(set.annotations[0].segmentation).size(), 1u);
  EXPECT_EQ(set.annotations[2].segmentation.kind, Segmentation::Kind::kNone);
  EXPECT_EQ(set.annotations[2].box, (Box{20, 10, 10, 10}));
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kShortPolygon, 3}, {ReadingKind::kMaskLost, 1}}));
  EXPECT_THAT(set.report[ReadingKind::kShortPolygon].examples,
              ElementsAre("annotations[0].segmentation[0]: 2 points", "annotations[2].segmentation[0]: 2 points",
                          "annotations[2].segmentation[1]: 0 points"));
}

TEST_F(CocoRepair, SizesComeFromMasksAndPictures) {
  make_pictures();
  for (const json& nothing : {json(0), json()}) {
    json document = sample();
    for (json& image : document["images"]) image["width"] = image["height"] = nothing;
    document["annotations"][0].erase("area");
    AnnotationSet set = read(document, {.image_root = folder_ / "pictures"});
    for (const CocoImage& image : set.images) {
      EXPECT_EQ(image.height, 20);
      EXPECT_EQ(image.width, 30);
    }
    EXPECT_EQ(set.annotations[0].area, 80);  // which needs the size
    EXPECT_EQ(
        counts(set.report),
        (Counts{{ReadingKind::kSizeFromMask, 1}, {ReadingKind::kSizeFromFile, 1}, {ReadingKind::kAreaFromMask, 1}}));
    // Without the pictures one size is not known; what needs it says so.
    set = read(document);
    EXPECT_EQ(set.images[0].height, 0);
    EXPECT_FALSE(set.annotations[0].has_area);
    EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kSizeFromMask, 1}, {ReadingKind::kSizeUnknown, 1}}));
    EXPECT_THROW(set.rle(set.annotations[0], 0, 0), Error);
    // A picture that cannot be read is not the annotations' fault.
    std::filesystem::remove(folder_ / "pictures/a.png");
    set = read(document, {.image_root = folder_ / "pictures"});
    EXPECT_THAT(set.report[ReadingKind::kSizeUnknown].examples.at(0), HasSubstr("a.png"));
    make_pictures();
  }
  json document = sample();
  document["images"][0].erase("height");
  document["images"][0]["width"] = 31;
  EXPECT_THAT(error_of(document, {.image_root = folder_ / "pictures"}),
              HasSubstr("images[0] (id 1): expected the picture's size, 20 x 30 (height x width), got 0 x 31"));
}

TEST_F(CocoRepair, BoxesOverTheEdgeAreCountedAndOutsideRefused) {
  json document = sample();
  document["annotations"][0]["bbox"] = {-1, -0.5, 31.5, 21};  // rounding
  document["annotations"][2]["bbox"] = {25, 15, 10, 3};
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.annotations[2].box, (Box{25, 15, 10, 3}));
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kPartlyOutside, 1}}));
  document["annotations"][2]["bbox"] = {4, 23, 10, 3};
  EXPECT_THAT(error_of(document), HasSubstr("annotations[2] (id 3).bbox: expected a box in its image of 20 x 30"));
  EXPECT_THAT(error_of(document), HasSubstr("it would be inside if the image's height and width were exchanged"));
}

TEST_F(CocoRepair, NullIsAsGoodAsNotGiven) {
  json document = sample();
  for (const char* key : {"id", "area", "iscrowd", "category_id", "segmentation"})
    document["annotations"][0][key] = nullptr;
  document["annotations"][1]["bbox"] = nullptr;
  const AnnotationSet set = read(document);
  EXPECT_FALSE(set.annotations[0].has_category);
  EXPECT_FALSE(set.annotations[0].is_crowd);
  EXPECT_EQ(set.annotations[1].box, (Box{0, 0, 4, 4}));
}

TEST_F(CocoRepair, ByteOrderMarks) {
  EXPECT_EQ(read_text("\xef\xbb\xbf" + sample().dump()).annotations.size(), 3u);
  for (const std::string& text : {std::string("\xff\xfe{\0}\0", 6), std::string("\xfe\xff\0{\0}", 6),
                                  std::string("{\0}\0", 4), std::string("\0{\0}", 4)}) {
    try {
      read_text(text);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("a.json: expected UTF-8 text, got UTF-16"));
    }
  }
}

TEST_F(CocoRepair, TextThatIsNotUtf8) {
  json document = sample();
  document["images"][0]["file_name"] = "cafe.jpg";
  std::string text = document.dump();
  text[text.find("cafe") + 3] = '\xe9';
  try {
    read_text(text);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    EXPECT_THAT(error.what(), testing::MatchesRegex(
                                  ".*a.json: images.0.: the record at byte [0-9]+ is not UTF-8: convert the file .*"));
  }
}

// As Python's json writes the name "caf\xe9.jpg" that os.listdir() gave.
TEST_F(CocoRepair, HalvesOfCharacters) {
  json document = sample();
  document["images"][0]["file_name"] = "cafe.jpg";
  std::string text = document.dump();
  text.replace(text.find("cafe") + 3, 1, "\\udce9");
  try {
    read_text(text);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("a.json: images[0]: a string in the record at byte "));
    EXPECT_THAT(error.what(), HasSubstr("no half of a pair"));
  }
}

TEST_F(CocoRepair, ListsOfResultsAreNotCompleted) {
  const AnnotationSet set =
      read_text(R"([{"image_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5], [1, 1]], "score": 0.5}])");
  EXPECT_FALSE(set.annotations[0].has_area);
  EXPECT_FALSE(set.annotations[0].has_box);
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kShortPolygon, 1}}));
  // Without masks, those of results that have no box are kept: their box is in them.
  const AnnotationSet boxes = read_text(
      R"([{"image_id": 1, "segmentation": {"size": [1, 2], "counts": "02"}, "score": 0.5}])", {.segmentations = false});
  EXPECT_EQ(boxes.annotations[0].segmentation.kind, Segmentation::Kind::kRle);
}

TEST_F(CocoRepair, ManyCasesAreCountedAndFiveAreNamed) {
  json document = sample();
  for (int i = 0; i < 5000; ++i) {
    document["annotations"].push_back(
        {{"id", 10 + i}, {"image_id", 99 + i}, {"bbox", {0, 0, 1, 1}}, {"segmentation", json::array({{1, 2}})}});
  }
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.annotations.size(), 3u);
  EXPECT_EQ(set.report.count(ReadingKind::kNoImage), 5000);
  EXPECT_EQ(set.report[ReadingKind::kNoImage].examples.size(), ReadingReport::kExamples);
  EXPECT_EQ(set.report[ReadingKind::kNoImage].examples[4], "annotations[7] (id 14): image 103");
  EXPECT_THAT(set.report.lines()[0].second, testing::EndsWith("; and 4995 more"));
}

TEST_F(CocoRepair, PartsOfAFile) {
  const AnnotationSet images = read(sample(), {.annotations = false});
  EXPECT_EQ(images.images.size(), 2u);
  EXPECT_TRUE(images.annotations.empty());
  const AnnotationSet categories = read(sample(), {.images = false, .annotations = false});
  EXPECT_TRUE(categories.images.empty());
  EXPECT_EQ(categories.categories.size(), 2u);
  EXPECT_TRUE(categories.report.empty());
}

TEST_F(CocoRepair, PicturesBehindBackslashes) {
  make_pictures();
  EXPECT_EQ(picture_path(folder_ / "pictures", "sub\\b.png"), folder_ / "pictures/sub/b.png");
  test::write_text(folder_ / "pictures" / "sub\\b.png", "x");
  EXPECT_EQ(picture_path(folder_ / "pictures", "sub\\b.png"), folder_ / "pictures" / "sub\\b.png");
  json document = sample();
  document["images"][1]["file_name"] = "sub\\b.png";
  const AnnotationSet set = read(document);
  EXPECT_EQ(set.images[1].file_name, "sub\\b.png");
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kBackslash, 1}}));
}

// ---- VOC ----

class VocRepair : public testing::Test {
 protected:
  static std::string xml(const std::string& size, const std::string& box) {
    return "<annotation><filename>a.png</filename>" + size + "<object><name>dog</name><bndbox>" + box +
           "</bndbox></object></annotation>";
  }
  AnnotationSet read(const std::string& size, const std::string& box, const CocoReadOptions& options = {}) {
    test::write_text(folder_ / "Annotations/a.xml", xml(size, box));
    return read_voc({folder_ / "Annotations/a.xml"}, options);
  }
  test::TempDir folder_;
  std::string whole_ = "<xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>20</ymax>";
};

TEST_F(VocRepair, SizesComeFromThePicture) {
  for (const std::string size : {"", "<size><width>0</width><height>0</height></size>", "<size><width/></size>"}) {
    EXPECT_EQ(read(size, whole_).images[0].height, 0);
    EXPECT_EQ(counts(read(size, whole_).report), (Counts{{ReadingKind::kSizeUnknown, 1}}));
    // In the folder that is given, in that of the development kit, beside the file.
    for (const std::string place : {"elsewhere", "JPEGImages", "Annotations"}) {
      std::filesystem::create_directories(folder_ / place);
      write_png(folder_ / place / "a.png", Tensor::zeros({20, 30, 3}, DType::kU8));
      CocoReadOptions options;
      if (place == "elsewhere") options.image_root = folder_ / place;
      const AnnotationSet set = read(size, whole_, options);
      EXPECT_EQ(set.images[0].height, 20) << place;
      EXPECT_EQ(set.images[0].width, 30) << place;
      EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kSizeFromFile, 1}})) << place;
      std::filesystem::remove(folder_ / place / "a.png");
    }
  }
}

TEST_F(VocRepair, CornersBelowOneAreCutOff) {
  const std::string size = "<size><width>30</width><height>20</height></size>";
  EXPECT_TRUE(read(size, whole_).report.empty());
  const AnnotationSet set = read(size, "<xmin>0</xmin><ymin>-2</ymin><xmax>10</xmax><ymax>20</ymax>");
  EXPECT_EQ(set.annotations[0].box, (Box{0, 0, 10, 20}));
  EXPECT_EQ(set.annotations[0].area, 200);
  EXPECT_EQ(counts(set.report), (Counts{{ReadingKind::kVocCorner, 1}}));
  EXPECT_THAT(set.report[ReadingKind::kVocCorner].examples.at(0),
              testing::EndsWith("a.xml: object[0].bndbox: xmin 0, ymin -2"));
  EXPECT_EQ(counts(read(size, "<xmin>20</xmin><ymin>1</ymin><xmax>40</xmax><ymax>20</ymax>").report),
            (Counts{{ReadingKind::kPartlyOutside, 1}}));
  EXPECT_THROW(read(size, "<xmin>-9</xmin><ymin>1</ymin><xmax>0</xmax><ymax>20</ymax>"), Error);
  EXPECT_THROW(read(size, "<xmin>40</xmin><ymin>1</ymin><xmax>50</xmax><ymax>20</ymax>"), Error);
  EXPECT_THROW(read("<size><width>30.5</width><height>20</height></size>", whole_), Error);
  EXPECT_THROW(read("<size><width>-1</width><height>20</height></size>", whole_), Error);
}

}  // namespace
}  // namespace usol::io
