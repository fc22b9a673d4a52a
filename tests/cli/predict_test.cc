// `usol predict` and `usol weights` as a user types them, with a small detector.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/checkpoint.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/pth.h"
#include "usol/io/resize.h"
#include "usol/io/rle.h"
#include "usol/io/safetensors.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/tta.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

class PredictTest : public testing::Test {
 protected:
  PredictTest() {
    for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
      if (name.starts_with("cascade/")) state_[name.substr(8)] = tensor;
    io::save_safetensors(folder_ / "detector.safetensors", state_);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  static std::string pictures() { return test::source_path("tests/pictures"); }
  static std::string cat() { return pictures() + "/chelsea.jpg"; }

  // usol predict words..., small, on one thread.
  test::ProcessResult predict(const Words& words, const test::ProcessOptions& options = {}) const {
    Words all = {"predict", "--short-side", "96", "--long-side", "160", "--threads", "1"};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all, options);
  }
  void expect_usage_error(const Words& words, const std::string& part) const {
    const auto result = test::run_usol(words);
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }

  test::TempDir folder_;
  StateDict state_;
};

TEST_F(PredictTest, PicturesToObjectsAndOverlays) {
  const auto result =
      predict({pictures(), "--weights", at("detector.safetensors"), "--out", at("a.json"), "--overlays", at("look")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(set.images.size(), 7u);
  EXPECT_GE(set.annotations.size(), 7u);
  for (const io::CocoImage& image : set.images)
    EXPECT_GT(io::decode_image(folder_ / "look" / fs::path(image.file_name).replace_extension(".jpg")).size(1), 96);
  const io::IdIndex index = io::index_images(set);
  for (const auto& annotation : set.annotations) {
    const io::CocoImage& image = set.images[static_cast<std::size_t>(index.find(annotation.image_id))];
    EXPECT_EQ(static_cast<double>(io::rle_area(set.rle(annotation, image.height, image.width))), annotation.area);
    EXPECT_GT(annotation.score, 0.35);
    const auto& [x, y, w, h] = annotation.box;
    EXPECT_TRUE(x >= 0 && y >= 0 && w > 0 && h > 0);
    EXPECT_LE(x + w, static_cast<double>(image.width) + 1e-3);
    EXPECT_LE(y + h, static_cast<double>(image.height) + 1e-3);
  }
  const Json info = Json::parse(set.info_json);
  EXPECT_EQ(info["detector"], "Cascade Mask R-CNN");
  EXPECT_EQ(info["settings"]["score"], 0.35);
  EXPECT_EQ(info["weights_sha256"].get<std::string>().size(), 64u);
}

TEST_F(PredictTest, WideObjectsAreLeftOutWhereThatIsAskedFor) {
  const Words words{cat(), "--weights", at("detector.safetensors"), "--score", "0", "--out"};
  const auto widths = [&](const std::string& name, Words more) {
    more.insert(more.begin(), words.begin(), words.end());
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(words.size()), at(name));
    EXPECT_EQ(predict(more).status, 0);
    std::vector<double> found;
    for (const auto& annotation : io::read_coco(folder_ / name).annotations) found.push_back(annotation.box[2]);
    return found;
  };
  std::vector<double> all = widths("a.json", {});
  EXPECT_FALSE(Json::parse(io::read_coco(folder_ / "a.json").info_json)["settings"].contains("widest-share"));
  const double picture = static_cast<double>(io::decode_image(cat()).size(1));
  const auto narrow = widths("b.json", {"--widest-share", "0.5"});
  EXPECT_EQ(Json::parse(io::read_coco(folder_ / "b.json").info_json)["settings"]["widest-share"], 0.5);
  const std::size_t before = all.size();
  std::erase_if(all, [&](double width) { return width >= 0.5 * picture; });
  EXPECT_LT(all.size(), before);
  EXPECT_EQ(narrow, all);
}

TEST_F(PredictTest, TheObjectsAreTheModels) {
  ASSERT_EQ(predict({cat(), "--weights", at("detector.safetensors"), "--out", at("a.json"), "--score", "0"}).status, 0);
  const Tensor picture = io::decode_image(cat());
  const Size size{picture.size(0), picture.size(1)}, network = network_size(size, 96, 160);
  const Tensor resized = resize(picture, network.height, network.width, io::Filter::kBilinear);
  const Rcnn model = Rcnn::from_state(state_, "golden");
  const rcnn::Detections found = rescaled(model.detect({resized})[0], network, size);
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(static_cast<std::int64_t>(set.annotations.size()), found.size());
  for (std::size_t i = 0; i < set.annotations.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    EXPECT_NEAR(set.annotations[i].score, found.scores.select(0, row).item(), 1e-5);
    EXPECT_NEAR(set.annotations[i].box[0], found.boxes.select(0, row).select(0, 0).item(), 1e-2);
  }
}

TEST_F(PredictTest, WithTestTimeAugmentation) {
  const Words words{cat(), "--weights", at("detector.safetensors"), "--score",  "0", "--most",
                    "10",  "--tta",     "--tta-short-sides",        "64,96,200"};
  const auto with = [&](Words more) {
    more.insert(more.begin(), words.begin(), words.end());
    return predict(more);
  };
  const auto result = with({"--tta-long-side", "128", "--out", at("a.json")});
  ASSERT_EQ(result.status, 0) << result.err;
  // The picture at --short-side is resized again; beyond 128 px there is one size only.
  const Tensor picture = io::decode_image(cat());
  const Size size{picture.size(0), picture.size(1)}, network = network_size(size, 96, 160);
  const Tensor resized = resize(picture, network.height, network.width, io::Filter::kBilinear);
  std::vector<Tensor> views;
  for (const std::int64_t side : {64, 96}) {
    const Size view = network_size(network, side, 128);
    views.push_back(resize(resized, view.height, view.width, io::Filter::kBilinear));
  }
  EXPECT_LT(views[1].size(0), 96);
  const Rcnn model = Rcnn::from_state(state_, "golden");
  const rcnn::Detections found =
      rescaled(detection::detect_augmented(model, views, true, size, {.most = 10}), size, size);
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(static_cast<std::int64_t>(set.annotations.size()), found.size());
  const Tensor masks = full_masks(found, size);
  for (std::size_t i = 0; i < set.annotations.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    EXPECT_NEAR(set.annotations[i].score, found.scores.select(0, row).item(), 1e-5);
    EXPECT_NEAR(set.annotations[i].box[0], found.boxes.select(0, row).select(0, 0).item(), 1e-2);
    EXPECT_EQ(set.annotations[i].area, static_cast<double>(io::rle_area(io::rle_encode(masks.select(0, row)))));
  }
  EXPECT_EQ(Json::parse(set.info_json)["settings"]["tta"], true);
  ASSERT_EQ(with({"--tta-long-side", "128", "--no-tta-flip", "--out", at("b.json")}).status, 0);
  EXPECT_NE(test::read_text(folder_ / "b.json"), test::read_text(folder_ / "a.json"));

  const std::string weights = at("detector.safetensors"), out = at("c.json");
  expect_usage_error({"predict", cat(), "--weights", weights, "--out", out, "--tta", "--batch", "4"},
                     "--batch 4: with");
  expect_usage_error({"predict", cat(), "--weights", weights, "--out", out, "--no-tta-flip"},
                     "--tta-flip is for --tta");
  expect_usage_error({"predict", cat(), "--weights", weights, "--out", out, "--tta", "--tta-short-sides", "0.5"},
                     "--tta-short-sides: expected a whole number");
}

TEST_F(PredictTest, ResumingGivesTheSameBytes) {
  fs::create_directory(folder_ / "in");
  for (const char* name : {"chelsea.jpg", "rocket.jpg", "camera.jpg"})
    fs::copy_file(fs::path(pictures()) / name, folder_ / "in" / name);
  const Words words = {at("in"), "--weights", at("detector.safetensors")};
  const auto with = [&](Words more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return predict(all);
  };
  ASSERT_EQ(with({"--out", at("whole.json")}).status, 0);
  EXPECT_EQ(with({"--out", at("whole.json")}).status, kBadUsage) << "an existing output is not replaced";
  Words shards;
  for (const char* shard : {"1/2", "2/2"}) {
    const std::string out = at(std::string("part") + shard[0] + ".json");
    ASSERT_EQ(with({"--out", out, "--shard", shard}).status, 0);
    shards.push_back(out);
  }
  Words merge = {"merge", "--out", at("merged.json")};
  merge.insert(merge.end(), shards.begin(), shards.end());
  ASSERT_EQ(test::run_usol(merge).status, 0);
  EXPECT_EQ(test::read_text(folder_ / "merged.json"), test::read_text(folder_ / "whole.json"));
  test::ProcessOptions killed;
  killed.kill_after_seconds = 0.3;
  Words all = words;
  all.insert(all.end(), {"--out", at("again.json")});
  predict(all, killed);
  all.push_back("--resume");
  ASSERT_EQ(predict(all).status, 0);
  EXPECT_EQ(test::read_text(folder_ / "again.json"), test::read_text(folder_ / "whole.json"));
}

TEST_F(PredictTest, BadUsage) {
  const std::string out = at("a.json"), weights = at("detector.safetensors");
  expect_usage_error({"predict", cat(), "--out", out}, "--weights FILE is missing");
  expect_usage_error({"predict", cat(), "--weights", weights}, "--out FILE is missing");
  expect_usage_error({"predict", cat(), "--weights", at("gone.pth"), "--out", out}, "gone.pth: no such file");
  expect_usage_error({"predict", "--weights", weights, "--out", out}, "no input");
  expect_usage_error({"predict", cat(), "--weights", weights, "--out", out, "--score", "2"}, "at most 1");
  const auto other = test::run_usol(
      {"predict", cat(), "--weights", test::source_path("tests/golden/vit_dino.safetensors"), "--out", out});
  EXPECT_EQ(other.status, kFailure);
  EXPECT_NE(other.err.find("not a Faster, Mask or Cascade R-CNN"), std::string::npos) << other.err;
  state_.erase("roi_heads.box_head.2.fc2.bias");
  io::save_safetensors(folder_ / "less.safetensors", state_);
  const auto less = test::run_usol({"predict", cat(), "--weights", at("less.safetensors"), "--out", out});
  EXPECT_EQ(less.status, kFailure);
  EXPECT_NE(less.err.find("missing roi_heads.box_head.2.fc2.bias"), std::string::npos) << less.err;
}

TEST_F(PredictTest, WeightsThereAndBack) {
  ASSERT_EQ(test::run_usol({"weights", at("detector.safetensors"), "--out", at("d.pth")}).status, 0);
  ASSERT_EQ(test::run_usol({"weights", at("d.pth"), "--out", at("back.safetensors")}).status, 0);
  EXPECT_EQ(io::load_checkpoint(folder_ / "d.pth").entry, "model");
  const StateDict back = io::load_safetensors(folder_ / "back.safetensors");
  ASSERT_EQ(back.size(), state_.size());
  for (const auto& [name, tensor] : state_)
    EXPECT_EQ(back.at(name).to_vector<float>(), tensor.to_vector<float>()) << name;
  // Either file predicts the same.
  ASSERT_EQ(predict({cat(), "--weights", at("d.pth"), "--out", at("a.json")}).status, 0);
  ASSERT_EQ(predict({cat(), "--weights", at("back.safetensors"), "--out", at("b.json")}).status, 0);
  const io::AnnotationSet a = io::read_coco(folder_ / "a.json"), b = io::read_coco(folder_ / "b.json");
  ASSERT_EQ(a.annotations.size(), b.annotations.size());
  for (std::size_t i = 0; i < a.annotations.size(); ++i) EXPECT_EQ(a.annotations[i].score, b.annotations[i].score);
}

TEST_F(PredictTest, AnEntryOfTheWeightsIsTaken) {
  StateDict wrapped{{"raw.x", Tensor::zeros({1})}};
  for (const auto& [name, tensor] : state_) wrapped["ema." + name] = wrapped["twin." + name] = tensor;
  io::save_safetensors(folder_ / "wrapped.safetensors", wrapped);
  ASSERT_EQ(predict({cat(), "--weights", at("detector.safetensors"), "--out", at("a.json")}).status, 0);
  const Words words{cat(), "--weights", at("wrapped.safetensors"), "--entry", "ema.", "--out", at("b.json")};
  ASSERT_EQ(predict(words).status, 0);
  const Json plain = Json::parse(test::read_text(folder_ / "a.json"));
  const Json of_entry = Json::parse(test::read_text(folder_ / "b.json"));
  EXPECT_EQ(plain["annotations"], of_entry["annotations"]);
  EXPECT_FALSE(plain["info"].contains("weights_entry"));
  EXPECT_EQ(of_entry["info"]["weights_entry"], "ema.");
  expect_usage_error({"predict", cat(), "--weights", at("wrapped.safetensors"), "--entry", "x.", "--out", at("c.json")},
                     "they begin with 'ema.', 'raw.', 'twin.'");
  // The same weights from another place of the file are other settings.
  const auto other =
      predict({cat(), "--weights", at("wrapped.safetensors"), "--entry", "twin.", "--out", at("b.json"), "--resume"});
  EXPECT_EQ(other.status, kBadUsage);
  EXPECT_NE(other.err.find("weights_entry: was \"ema.\", is \"twin.\""), std::string::npos) << other.err;
}

TEST_F(PredictTest, WeightsGiveAResNetDetectronsNames) {
  StateDict resnet;
  for (const char* name : {"module.encoder_q.conv1.weight", "module.encoder_q.layer1.0.bn1.weight",
                           "module.encoder_q.fc.0.weight", "module.queue"})
    resnet[name] = Tensor::zeros({2});
  io::save_pth(folder_ / "moco.pth", resnet, "state_dict");
  const auto result =
      test::run_usol({"weights", at("moco.pth"), "--names", "detectron2", "--out", at("r.safetensors")});
  ASSERT_EQ(result.status, 0) << result.err;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : io::load_safetensors(folder_ / "r.safetensors")) names.push_back(name);
  EXPECT_EQ(names, (Words{"backbone.bottom_up.res2.0.conv1.norm.weight", "backbone.bottom_up.stem.conv1.weight"}));
  EXPECT_NE(result.err.find("2 left out"), std::string::npos) << result.err;
}

TEST_F(PredictTest, WeightsBadUsage) {
  const std::string in = at("detector.safetensors");
  expect_usage_error({"weights", "--out", at("a.pth")}, "one FILE");
  expect_usage_error({"weights", in}, "--out FILE is missing");
  expect_usage_error({"weights", in, "--out", at("a.pkl")}, ".safetensors or .pth");
  expect_usage_error({"weights", at("gone.pth"), "--out", at("a.pth")}, "no such file");
  expect_usage_error({"weights", in, "--out", in}, "is an input of this run");
  expect_usage_error({"weights", in, "--out", in, "--force"}, "is an input of this run");
  EXPECT_EQ(test::run_usol({"weights", in, "--names", "detectron2", "--out", at("a.pth")}).status, kFailure);
}

}  // namespace
}  // namespace usol::cli
