// usol eval, as a user runs it: metrics files, hints, exit statuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/safetensors.h"

namespace usol::cli {
namespace {

using nlohmann::ordered_json;
using test::run_usol;
using testing::HasSubstr;

// Two images of 20 x 20; a square of category 3 in each, and a crowd.
ordered_json truth() {
  return ordered_json::parse(R"({
    "images": [{"id": 7, "height": 20, "width": 20, "file_name": "a.jpg"},
               {"id": 9, "height": 20, "width": 20, "file_name": "b.jpg"}],
    "categories": [{"id": 3, "name": "square"}, {"id": 4, "name": "never"}],
    "annotations": [
      {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0,
       "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
      {"id": 2, "image_id": 9, "category_id": 3, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0,
       "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]},
      {"id": 3, "image_id": 9, "category_id": 3, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 1,
       "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}]})");
}

// The first square exactly, the second by box alone (its mask is the upper half).
ordered_json results() {
  return ordered_json::parse(R"([
    {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "score": 0.9,
     "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
    {"image_id": 9, "category_id": 3, "bbox": [5, 5, 10, 10], "score": 0.8,
     "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10]]}])");
}

// The same as a data set whose images are numbered otherwise, without scores.
ordered_json pseudo_masks() {
  ordered_json set = truth();
  set["images"] = ordered_json::parse(R"([{"id": 1, "height": 20, "width": 20, "file_name": "b.jpg"},
                                          {"id": 2, "height": 20, "width": 20, "file_name": "a.jpg"}])");
  set["categories"] = ordered_json::parse(R"([{"id": 1, "name": "fg"}])");
  set["annotations"] = results();
  for (int i = 0; i < 2; ++i) {
    auto& annotation = set["annotations"][static_cast<std::size_t>(i)];
    annotation["id"] = i + 1;
    annotation["image_id"] = 2 - i;
    annotation["category_id"] = 1;
    annotation.erase("score");
  }
  return set;
}

class Eval : public testing::Test {
 protected:
  void write(const std::string& name, const ordered_json& document) {
    test::write_text(folder_ / name, document.dump());
  }
  test::ProcessResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "eval");
    return run_usol(arguments, {.directory = folder_.path().string()});
  }
  ordered_json metrics() { return ordered_json::parse(test::read_text(folder_ / "m.json")); }

  void SetUp() override {
    write("gt.json", truth());
    write("pred.json", results());
  }

  test::TempDir folder_;
};

TEST_F(Eval, WritesAllMetrics) {
  const auto result = run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json", "--curves", "c.safetensors"});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("box  AP 100.0  AP50 100.0"));
  const ordered_json m = metrics();
  std::vector<std::string> names;
  for (const auto& [name, value] : m["box"].items()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs",
                                             "ARm", "ARl"}));
  EXPECT_NEAR(m["box"]["AP"], 1, 1e-9);
  EXPECT_NEAR(m["mask"]["AR100"], 0.55, 1e-9);  // the second mask fits at the threshold of .5 only
  EXPECT_EQ(m["mask"]["APl"], -1);
  ASSERT_EQ(m["per_category"].size(), 2);
  EXPECT_EQ(m["per_category"][0]["name"], "square");
  EXPECT_EQ(m["per_category"][0]["truths"], 2);
  EXPECT_EQ(m["per_category"][1]["mask"]["AP"], -1);
  EXPECT_EQ(m["info"]["settings"]["iou"], "box,mask");
  EXPECT_FALSE(m["info"].dump().find(folder_.path().string()) != std::string::npos);
  const auto curves = io::load_safetensors(folder_ / "c.safetensors");
  EXPECT_EQ(curves.at("mask.precision").shape(), (Shape{10, 101, 2, 4, 3}));
}

TEST_F(Eval, ReplacesAnOutputOnlyWithForce) {
  ASSERT_EQ(run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"}).status, kSuccess);
  const auto again = run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"});
  EXPECT_EQ(again.status, kBadUsage);
  EXPECT_THAT(again.err, HasSubstr("m.json exists; --force replaces it"));
  EXPECT_EQ(run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json", "--force"}).status, kSuccess);
}

TEST_F(Eval, BoxOnlyNeedsNoMasks) {
  auto predictions = results();
  for (auto& prediction : predictions) prediction.erase("segmentation");
  write("boxes.json", predictions);
  const auto both = run({"--gt", "gt.json", "--pred", "boxes.json", "--out", "m.json"});
  EXPECT_EQ(both.status, kBadUsage);
  EXPECT_THAT(both.err, HasSubstr("boxes.json has no masks; box-only compares boxes alone"));
  ASSERT_EQ(run({"--gt", "gt.json", "--pred", "boxes.json", "--out", "m.json", "--box-only"}).status, kSuccess);
  EXPECT_TRUE(metrics().contains("box"));
  EXPECT_FALSE(metrics().contains("mask"));
  // Boxes of masks, where no other is given.
  for (auto& prediction : predictions = results()) prediction.erase("bbox");
  write("masks.json", predictions);
  ASSERT_EQ(run({"--gt", "gt.json", "--pred", "masks.json", "--out", "m.json", "--box-only", "--force"}).status,
            kSuccess);
  EXPECT_NEAR(metrics()["box"]["AP50"], 1, 1e-9);
}

TEST_F(Eval, PseudoMasksAreMatchedByName) {
  write("pseudo.json", pseudo_masks());
  const auto by_id = run({"--gt", "gt.json", "--pred", "pseudo.json", "--pseudo-masks", "--out", "m.json"});
  EXPECT_EQ(by_id.status, kFailure);
  EXPECT_THAT(by_id.err, HasSubstr("pseudo.json: annotations[0] (id 1).image_id: 2 is no image of gt.json"));
  EXPECT_THAT(by_id.err, HasSubstr("match them by file name"));
  const auto by_name =
      run({"--gt", "gt.json", "--pred", "pseudo.json", "--pseudo-masks", "--match", "file_name", "--out", "m.json"});
  ASSERT_EQ(by_name.status, kSuccess) << by_name.err;
  EXPECT_THAT(by_name.err, HasSubstr("2 masks have no score and count with 1"));
  EXPECT_NEAR(metrics()["mask"]["AR100"], 0.55, 1e-9);
}

TEST_F(Eval, EqualIdsOfOtherPicturesAreNoticed) {
  auto set = pseudo_masks();
  for (auto& image : set["images"]) image["id"] = image["id"] == 1 ? 7 : 9;
  for (auto& annotation : set["annotations"]) annotation["image_id"] = annotation["image_id"] == 1 ? 7 : 9;
  write("pseudo.json", set);
  const auto result = run({"--gt", "gt.json", "--pred", "pseudo.json", "--pseudo-masks", "--out", "m.json"});
  EXPECT_EQ(result.status, kBadUsage);
  EXPECT_THAT(result.err, HasSubstr("image 7 is 'a.jpg' in gt.json, but 'b.jpg' in pseudo.json: match file_name"));
}

TEST_F(Eval, SettingsAreChecked) {
  const std::vector<std::string> start = {"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"};
  const auto status_with = [&](const std::vector<std::string>& more) {
    auto arguments = start;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments).status;
  };
  EXPECT_EQ(status_with({"--max-dets", "10,1"}), kBadUsage);
  EXPECT_EQ(status_with({"--max-dets", "1,x"}), kBadUsage);
  EXPECT_EQ(status_with({"--iou", "box,edge"}), kBadUsage);
  EXPECT_EQ(status_with({"--match", "colour"}), kBadUsage);
  EXPECT_EQ(status_with({"--corloc", "--saliency"}), kBadUsage);
  EXPECT_EQ(status_with({"--corloc", "--iou", "mask"}), kBadUsage);
  EXPECT_EQ(status_with({"--voc", "categories", "--iou", "mask"}), kBadUsage);
  EXPECT_EQ(status_with({"--saliency", "--max-dets", "1"}), kBadUsage);
  EXPECT_EQ(status_with({"--box-only", "--iou", "mask"}), kBadUsage);
  EXPECT_EQ(run({"--gt", "none.json", "--pred", "pred.json", "--out", "m.json"}).status, kBadUsage);
  EXPECT_EQ(run({"--gt", "gt.json", "--pred", "pred.json"}).status, kBadUsage);
  ASSERT_EQ(status_with({"--max-dets", "2,300", "--iou", "mask"}), kSuccess);
  EXPECT_TRUE(metrics()["mask"].contains("AR300"));
}

TEST_F(Eval, UnknownCategoriesAreCounted) {
  auto predictions = results();
  predictions[1]["category_id"] = 77;
  write("pred.json", predictions);
  const auto result = run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"});
  ASSERT_EQ(result.status, kSuccess);
  EXPECT_THAT(result.err, HasSubstr("warning: 1 predictions have categories that gt.json lacks"));
  EXPECT_EQ(metrics()["left_out"]["predictions_of_unknown_categories"], 1);
}

TEST_F(Eval, BadRecordsAreNamed) {
  auto predictions = results();
  predictions[1]["segmentation"] = {{"size", {20, 21}}, {"counts", {420}}};
  write("pred.json", predictions);
  const auto result = run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"});
  EXPECT_EQ(result.status, kFailure);
  EXPECT_THAT(result.err, HasSubstr("pred.json: [1].segmentation: expected the size of image 9, 20 x 20"));
  test::write_text(folder_ / "pred.json", R"([{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "score": NaN}])");
  EXPECT_THAT(run({"--gt", "gt.json", "--pred", "pred.json", "--out", "m.json"}).err,
              HasSubstr("pred.json: [0].score: expected a finite number, got NaN"));
}

TEST_F(Eval, EveryKindOfBadRecordIsNamedOrCounted) {
  struct Case {
    const char* file;     // "gt.json" or "pred.json"
    const char* pointer;  // where, and what stands there instead
    ordered_json value;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"gt.json", "/images/1/id", 7, "images[1].id: expected a new id, got 7 of images[0]"},
      {"gt.json",
       "/annotations/0/bbox",
       {0, 0, -10, 10},
       "annotations[0].bbox: expected width and height of at least 0"},
      {"pred.json", "/0/bbox", {0, 0, 10, -1}, "[0].bbox: expected width and height of at least 0"},
      {"pred.json", "/1/image_id", 8, "[1].image_id: 8 is no image of gt.json"},
      {"pred.json", "/0/score", nullptr, "[0].score: expected a number, got null"},
      {"pred.json",
       "/0/segmentation",
       {{"size", {10, 40}}, {"counts", {400}}},
       "[0].segmentation: expected the size of image 7, 20 x 20"},
  };
  for (const Case& c : cases) {
    write("gt.json", truth());
    write("pred.json", results());
    ordered_json document = ordered_json::parse(test::read_text(folder_ / c.file));
    document[ordered_json::json_pointer(c.pointer)] = c.value;
    write(c.file, document);
    const auto result = run({"--gt", "gt.json", "--pred", "pred.json", "--out", "bad.json"});
    EXPECT_EQ(result.status, kFailure) << c.pointer;
    EXPECT_THAT(result.err, HasSubstr(std::string(c.file) + ": ")) << c.pointer;
    EXPECT_THAT(result.err, HasSubstr(c.message)) << c.pointer;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "bad.json"));
  }
  // A truth without a category.
  ordered_json document = truth();
  document["annotations"][0].erase("category_id");
  write("gt.json", document);
  write("pred.json", results());
  EXPECT_THAT(run({"--gt", "gt.json", "--pred", "pred.json", "--out", "bad.json"}).err,
              HasSubstr("gt.json: annotations[0] (id 1).category_id: expected the id of a category"));
  EXPECT_EQ(run({"--gt", "gt.json", "--pred", "pred.json", "--class-agnostic", "--out", "m.json"}).status, kSuccess);
}

TEST_F(Eval, CorLoc) {
  const auto result = run({"--gt", "gt.json", "--pred", "pred.json", "--corloc", "--out", "m.json"});
  ASSERT_EQ(result.status, kSuccess);
  EXPECT_THAT(result.err, HasSubstr("CorLoc 100.0 (2 of 2 images)"));
  EXPECT_THAT(result.err, HasSubstr("constant box "));
  EXPECT_THAT(result.err, HasSubstr("whole frame 0.0"));
  EXPECT_EQ(metrics()["corloc"]["CorLoc"], 1);
  EXPECT_GT(metrics()["corloc"]["constant_box"]["right"], 0);
  EXPECT_EQ(metrics()["corloc"]["whole_frame"]["CorLoc"], 0);
  EXPECT_EQ(metrics()["corloc"]["images"], 2);
}

TEST_F(Eval, SaliencyOfFoldersAndFiles) {
  // Truths in a folder; maps once as PNG and once as .npy.
  Tensor mask = Tensor::zeros({20, 20}, DType::kU8);
  mask.slice(0, 0, 10).slice(1, 0, 10).fill(255);
  std::filesystem::create_directories(folder_ / "masks");
  std::filesystem::create_directories(folder_ / "maps");
  io::write_png(folder_ / "masks/a.png", mask);
  io::write_png(folder_ / "masks/b.png", mask);
  io::write_png(folder_ / "maps/a.png", mask);
  const auto missing = run({"--gt", "masks", "--pred", "maps", "--saliency", "--out", "m.json"});
  EXPECT_EQ(missing.status, kFailure);
  EXPECT_THAT(missing.err, HasSubstr("maps: no map for 1 of 2 truths: b"));
  Tensor half = Tensor::zeros({20, 20});
  half.slice(0, 0, 5).slice(1, 0, 10).fill(0.75);
  io::save_npy(folder_ / "maps/b.npy", half);
  ASSERT_EQ(run({"--gt", "masks", "--pred", "maps", "--saliency", "--out", "m.json"}).status, kSuccess);
  EXPECT_EQ(metrics()["saliency"]["images"], 2);
  EXPECT_NEAR(metrics()["saliency"]["IoU"], 0.75, 1e-12);
  EXPECT_NEAR(metrics()["saliency"]["accuracy"], 1 - 50 / 800.0, 1e-12);

  // COCO files: by id, and against a folder by name.
  ASSERT_EQ(run({"--gt", "gt.json", "--pred", "gt.json", "--saliency", "--out", "m.json", "--force"}).status, kSuccess);
  EXPECT_EQ(metrics()["saliency"]["IoU"], 1);
  ASSERT_EQ(run({"--gt", "gt.json", "--pred", "maps", "--saliency", "--out", "m.json", "--force"}).status, kSuccess);
  auto permuted = nlohmann::json::parse(test::read_text(folder_ / "gt.json"));
  ASSERT_GE(permuted["images"].size(), 2u);
  std::swap(permuted["images"][0]["id"], permuted["images"][1]["id"]);
  test::write_text(folder_ / "permuted.json", permuted.dump());
  const auto swapped = run({"--gt", "gt.json", "--pred", "permuted.json", "--saliency", "--out", "m.json", "--force"});
  EXPECT_EQ(swapped.status, kBadUsage);
  EXPECT_THAT(swapped.err, HasSubstr("match file_name compares by name"));
  EXPECT_EQ(run({"--gt", "gt.json", "--pred", "permuted.json", "--saliency", "--match", "file_name", "--out", "m.json",
                 "--force"})
                .status,
            kSuccess);
  io::write_png(folder_ / "maps/a.png", Tensor::zeros({20, 21}, DType::kU8));
  const auto other_size = run({"--gt", "masks", "--pred", "maps", "--saliency", "--out", "m.json", "--force"});
  EXPECT_EQ(other_size.status, kFailure);
  EXPECT_THAT(other_size.err, HasSubstr("maps/a.png and masks/a.png: saliency_scores: expected a map and a truth"));
}

}  // namespace
}  // namespace usol::cli
