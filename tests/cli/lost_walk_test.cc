// The walk of docs/lost_detector.md on bundled pictures, without weights: LOST's boxes, a detector of boxes alone, its
// predictions and scores; then the same with classes. Each verb as a user types it.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/small_vit.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

class LostWalk : public testing::Test {
 protected:
  LostWalk() {
    for (const char* name : {"camera.jpg", "chelsea.jpg", "coffee.jpg", "raccoon.jpg"})
      test::write_text(folder_ / "photos" / name, test::read_text(test::source_path("tests/pictures") + "/" + name));
    test::write_text(folder_ / "small.toml",
                     "[train]\narch = \"resnet-c4\"\nstages = 1\nmask-head = \"off\"\nbox-of = \"class\"\n"
                     "norm-after-res5 = true\nfreeze-at = 2\ndroploss = false\nblocks = [1, 1, 1, 1]\n"
                     "resnet-channels = 16\nshort-sides = [64]\nbatch = 2\nreference-batch = 2\nproposals = 20\n"
                     "iterations = 2\nsteps = [2]\nwarmup = 1\nlog-every = 1\nprecise-bn = 1\n");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult usol(Words words) const {
    words.insert(words.end(), {"--threads", "1"});
    return test::run_usol(words);
  }
  void discover() const {
    const auto found = usol({"discover", at("photos"), "--method", "lost", "--backbone", "contrast", "--size", "96",
                             "--patch", "8", "--out", at("lost.json")});
    ASSERT_EQ(found.status, 0) << found.err;
  }
  Json read(const std::string& name) const { return Json::parse(test::read_text(folder_ / name)); }
  void write(const std::string& name, const Json& json) const { test::write_text(folder_ / name, json.dump()); }
  // The file's objects without their masks.
  void boxes_alone(const std::string& from, const std::string& to) const {
    Json set = read(from);
    for (Json& object : set["annotations"]) object.erase("segmentation");
    write(to, set);
  }

  test::TempDir folder_;
};

TEST_F(LostWalk, OneClass) {
  discover();
  boxes_alone("lost.json", "boxes.json");
  // A detector of masks says what it needs.
  const auto refused =
      usol({"train", "--annotations", at("boxes.json"), "--image-root", at("photos"), "--out", at("masks")});
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.err.find("it has no segmentation"), std::string::npos) << refused.err;
  // It is scored on the boxes it learns from, while training and after.
  const auto trained = usol({"train", "--config", at("small.toml"), "--annotations", at("boxes.json"), "--image-root",
                             at("photos"), "--out", at("detector"), "--eval-annotations", at("boxes.json"),
                             "--eval-image-root", at("photos"), "--eval-short-side", "64", "--pictures-every", "2"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.err.find("copy-paste is off"), std::string::npos) << trained.err;
  EXPECT_NE(trained.err.find("bbox/AP"), std::string::npos) << trained.err;
  EXPECT_EQ(trained.err.find("segm/AP"), std::string::npos) << trained.err;
  const std::string model = at("detector/model_final.safetensors");
  const auto about = usol({"info", model});
  EXPECT_NE((about.out + about.err).find("Faster R-CNN"), std::string::npos) << about.out;
  const auto predicted =
      usol({"predict", at("photos"), "--weights", model, "--score", "0", "--nms", "0.4", "--short-side", "64", "--most",
            "5", "--overlays", at("look"), "--out", at("found.json")});
  ASSERT_EQ(predicted.status, 0) << predicted.err;
  const Json found = read("found.json");
  ASSERT_FALSE(found["annotations"].empty());
  for (const Json& object : found["annotations"]) {
    EXPECT_FALSE(object.contains("segmentation"));
    EXPECT_NEAR(object["area"].get<double>(), object["bbox"][2].get<double>() * object["bbox"][3].get<double>(), 1e-3);
  }
  EXPECT_TRUE(fs::exists(folder_ / "look/coffee.jpg"));
  const auto scored = usol(
      {"eval", "--gt", at("boxes.json"), "--pred", at("found.json"), "--class-agnostic", "--out", at("scores.json")});
  ASSERT_EQ(scored.status, 0) << scored.err;
  EXPECT_NE(scored.err.find("boxes alone"), std::string::npos) << scored.err;
  EXPECT_TRUE(read("scores.json").contains("box"));
  EXPECT_FALSE(read("scores.json").contains("mask"));
  const auto corloc =
      usol({"eval", "--gt", at("boxes.json"), "--pred", at("found.json"), "--corloc", "--out", at("corloc.json")});
  EXPECT_EQ(corloc.status, 0) << corloc.err;
  // What was found and what was there before make the next round, by boxes.
  const auto merged = usol({"merge", "--self-training", "--previous", at("boxes.json"), "--predictions",
                            at("found.json"), "--score", "0", "--out", at("round.json")});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_GE(read("round.json")["annotations"].size(), found["annotations"].size());
  const auto page = usol({"report", at("found.json"), "--images", at("photos"), "--annotations", at("boxes.json"),
                          "--out", at("report.html")});
  EXPECT_EQ(page.status, 0) << page.err;
}

TEST_F(LostWalk, Classes) {
  discover();
  boxes_alone("lost.json", "alone.json");
  test::write_small_vit(folder_ / "dino.pth");
  const auto grouped = usol({"group", at("alone.json"), "--image-root", at("photos"), "--weights", at("dino.pth"),
                             "--describe", "crop", "--crop-size", "32", "--whiten", "--groups", "2", "--least-size",
                             "1", "--deviations", "0", "--out", at("groups.json")});
  ASSERT_EQ(grouped.status, 0) << grouped.err;
  const Json groups = read("groups.json");
  ASSERT_EQ(groups["annotations"].size(), read("alone.json")["annotations"].size());
  const auto trained = usol({"train", "--config", at("small.toml"), "--annotations", at("groups.json"), "--image-root",
                             at("photos"), "--out", at("classes")});
  ASSERT_EQ(trained.status, 0) << trained.err;
  const auto predicted = usol({"predict", at("photos"), "--weights", at("classes/model_final.safetensors"), "--score",
                               "0", "--nms", "0.4", "--short-side", "64", "--out", at("found.json")});
  ASSERT_EQ(predicted.status, 0) << predicted.err;
  const auto scored =
      usol({"eval", "--gt", at("groups.json"), "--pred", at("found.json"), "--voc", "groups", "--out", at("voc.json")});
  ASSERT_EQ(scored.status, 0) << scored.err;
  const Json voc = read("voc.json");
  EXPECT_GE(voc["voc"]["AP50"].get<double>(), 0);
  ASSERT_EQ(voc["per_category"].size(), groups["categories"].size());
  EXPECT_NE(voc["per_category"][0]["group"], voc["per_category"][1]["group"]);
  // The truth against itself under other numbers is found out, whatever the numbers.
  Json exchanged = Json::array();
  for (const Json& object : groups["annotations"])
    exchanged.push_back({{"image_id", object["image_id"]},
                         {"category_id", 12 - object["category_id"].get<std::int64_t>()},
                         {"bbox", object["bbox"]},
                         {"score", 1}});
  write("exchanged.json", exchanged);
  const auto same = usol(
      {"eval", "--gt", at("groups.json"), "--pred", at("exchanged.json"), "--voc", "groups", "--out", at("same.json")});
  ASSERT_EQ(same.status, 0) << same.err;
  EXPECT_EQ(read("same.json")["voc"]["AP50"], 1);
}

}  // namespace
}  // namespace usol::cli
