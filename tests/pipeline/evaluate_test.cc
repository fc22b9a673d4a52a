// Evaluation of files from C++: what comes back, what is written, what is left out.
#include "usol/pipeline/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

// A square of category 3 in each of two images; found exactly, and by its upper half.
constexpr const char* kTruth = R"({
  "images": [{"id": 7, "height": 20, "width": 20, "file_name": "a.jpg"},
             {"id": 9, "height": 20, "width": 20, "file_name": "b.jpg"}],
  "categories": [{"id": 3, "name": "square"}],
  "annotations": [
    {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0,
     "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
    {"id": 2, "image_id": 9, "category_id": 3, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0,
     "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]}]})";
constexpr const char* kFound = R"([
  {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "score": 0.9, "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
  {"image_id": 9, "category_id": 3, "bbox": [5, 5, 10, 10], "score": 0.8, "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10]]},
  {"image_id": 9, "category_id": 77, "bbox": [5, 5, 10, 10], "score": 0.7, "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10]]}])";

class EvaluateTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_text(folder_ / "truth.json", kTruth);
    test::write_text(folder_ / "found.json", kFound);
    config_.truth = at("truth.json");
    config_.predictions = at("found.json");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  ErrorKind kind_of_error() {
    try {
      evaluate({}, config_);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInvalidArgument;  // which no evaluation throws
  }

  test::TempDir folder_;
  test::LoggedRun logged_;
  EvaluateConfig config_;
};

TEST_F(EvaluateTest, AveragePrecisionComesBackByType) {
  const Evaluation found = evaluate(logged_.run, config_);
  ASSERT_EQ(found.coco.size(), 2u);
  EXPECT_EQ(found.coco[0].first, eval::IouType::kBox);
  EXPECT_EQ(found.coco[1].first, eval::IouType::kMask);
  EXPECT_NEAR(found.coco[0].second.metrics[0].second, 1, 1e-9);
  EXPECT_EQ(found.coco[0].second.unknown_category, 1);
  EXPECT_FALSE(found.coco[0].second.precision.defined());  // nobody asked for curves
  EXPECT_FALSE(found.corloc || found.saliency);
  const ordered_json json = found.json();
  EXPECT_NEAR(json["mask"]["AR100"].get<double>(), 0.55, 1e-9);  // the second mask fits at the threshold of .5 only
  EXPECT_EQ(json["per_category"][0]["name"], "square");
  EXPECT_EQ(json["left_out"]["predictions_of_unknown_categories"], 1);
  EXPECT_THAT(logged_.log->text(), HasSubstr("box  AP 100.0"));
  EXPECT_THAT(logged_.log->text(), HasSubstr("warning: 1 predictions have categories that"));
}

TEST_F(EvaluateTest, FilesSayHowTheyWereMade) {
  config_.iou = "mask";
  ASSERT_EQ(write_evaluation({}, config_, {at("deep/m.json"), at("c.safetensors")}), kSuccess);
  const ordered_json metrics = ordered_json::parse(test::read_text(folder_ / "deep/m.json"));
  EXPECT_EQ(metrics["mask"], evaluate({}, config_).json()["mask"]);
  EXPECT_EQ(metrics["info"]["settings"]["iou"], "mask");
  EXPECT_EQ(metrics["info"]["settings"]["max-dets"], "1,10,100");
  EXPECT_EQ(metrics["info"]["description"], "usol library");
  EXPECT_EQ(io::load_safetensors(folder_ / "c.safetensors").at("mask.precision").shape(), (Shape{10, 101, 1, 4, 3}));
  EXPECT_THROW(write_evaluation({}, config_, {at("deep/m.json")}), Error);  // exists
  EXPECT_THROW(write_evaluation({.existing = Existing::kReplace}, config_, {at("truth.json")}), Error);
  EXPECT_EQ(test::read_text(folder_ / "truth.json"), kTruth);
  ASSERT_EQ(write_evaluation({.dry_run = true}, config_, {at("none.json")}), kSuccess);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none.json"));
}

TEST_F(EvaluateTest, ContradictionsAreBadUsage) {
  for (EvaluateConfig wrong :
       {EvaluateConfig{.truth = at("none.json"), .predictions = at("found.json")},
        EvaluateConfig{.truth = at("truth.json"), .predictions = at("found.json"), .corloc = true, .saliency = true},
        EvaluateConfig{.truth = at("truth.json"), .predictions = at("found.json"), .corloc = true, .curves = true},
        EvaluateConfig{.truth = at("truth.json"), .predictions = at("found.json"), .iou = "edge"},
        EvaluateConfig{.truth = at("truth.json"), .predictions = at("found.json"), .max_dets = "10,1"},
        EvaluateConfig{.truth = at("truth.json"), .predictions = at("found.json"), .image_root = at("none")}}) {
    config_ = wrong;
    EXPECT_EQ(kind_of_error(), ErrorKind::kUsage);
  }
}

TEST_F(EvaluateTest, CorLoc) {
  config_.corloc = true;
  const Evaluation found = evaluate({}, config_);
  ASSERT_TRUE(found.corloc);
  EXPECT_EQ(found.corloc->right, 2);
  EXPECT_EQ(found.json()["corloc"]["CorLoc"], 1.0);
  EXPECT_TRUE(found.coco.empty());
}

class SaliencyFilesTest : public EvaluateTest {
 protected:
  void SetUp() override {
    Tensor mask = Tensor::zeros({20, 20}, DType::kU8);
    mask.slice(0, 0, 10).fill(255);
    for (const char* folder : {"masks", "maps"}) {
      std::filesystem::create_directories(folder_ / folder);
      for (const char* name : {"a.png", "b.png"}) io::write_png(folder_ / folder / name, mask);
    }
    config_.truth = at("masks");
    config_.predictions = at("maps");
    config_.saliency = true;
  }
};

TEST_F(SaliencyFilesTest, OfFolders) {
  const Evaluation found = evaluate({}, config_);
  ASSERT_TRUE(found.saliency);
  EXPECT_EQ(found.saliency->images(), 2);
  EXPECT_EQ(found.json()["saliency"]["IoU"], 1.0);
}

// Opening the pipe would wait for ever for somebody who writes to it.
TEST_F(SaliencyFilesTest, PipesAmongTheMapsAreListedAndNotOpened) {
  ASSERT_EQ(mkfifo(at("masks/pipe.png").c_str(), 0600), 0);
  ASSERT_EQ(mkfifo(at("maps/pipe.npy").c_str(), 0600), 0);
  EXPECT_EQ(write_evaluation(logged_.run, config_, {at("m.json")}), kSomeInputsFailed);
  EXPECT_EQ(ordered_json::parse(test::read_text(folder_ / "m.json"))["saliency"]["images"], 2);
  EXPECT_THAT(logged_.log->text(), HasSubstr("1 files were left out, because they are pipes, sockets or devices:\n  " +
                                             at("masks/pipe.png") + "\n"));
  EXPECT_THAT(logged_.log->text(), HasSubstr("  " + at("maps/pipe.npy") + "\n"));
  // A truth's own map is no less missing for being a pipe.
  std::filesystem::remove(folder_ / "maps/b.png");
  ASSERT_EQ(mkfifo(at("maps/b.png").c_str(), 0600), 0);
  EXPECT_EQ(kind_of_error(), ErrorKind::kFormat);
  for (const char* name : {"masks/a.png", "masks/b.png"}) std::filesystem::remove(folder_ / name);
  EXPECT_EQ(kind_of_error(), ErrorKind::kUsage);  // nothing is left of the truth
}

}  // namespace
}  // namespace usol
