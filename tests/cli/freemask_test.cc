// `usol discover --method freemask` as a user types it, with a residual network of random weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/resize.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/frame.h"
#include "usol/models/resnet_patches.h"
#include "usol/models/vit.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using testing::HasSubstr;

class FreeMaskTest : public testing::Test {
 protected:
  FreeMaskTest() {
    fs::create_directory(folder_ / "in");
    small_copy("chelsea.jpg", 75, 115);
    small_copy("rocket.jpg", 150, 90);
    ResNetConfig config;
    config.blocks = {1, 1, 1, 1};
    config.stem_channels = 8;
    config.res2_channels = 32;
    config.width_per_group = 8;
    ParamStore store(8);
    const ResNetPatches network(Scope(store), config);
    io::save_safetensors(folder_ / "r.safetensors", store.state_dict());
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  Json annotations(const std::string& name) const { return Json::parse(text(name))["annotations"]; }
  void small_copy(const std::string& name, std::int64_t height, std::int64_t width) const {
    const Tensor image = io::decode_image(test::source_path("tests/pictures/" + name));
    io::write_png(folder_ / "in" / fs::path(name).replace_extension(".png"),
                  resize(image, height, width, io::Filter::kLanczos));
  }
  // All masks: those of random weights are not pure.
  test::ProcessResult discover(const Words& words) const {
    Words all = {"discover",         at("in"), "--method",    "freemask", "--threads",      "1",
                 "--least-maskness", "0",      "--top-share", "0",        "--widest-share", "2",
                 "--short-side",     "200",    "--long-side", "320"};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all);
  }
  test::ProcessResult with_weights(Words words) const {
    words.insert(words.end(), {"--weights", at("r.safetensors")});
    return discover(words);
  }

  test::TempDir folder_;
};

TEST_F(FreeMaskTest, WritesMasksMapsAndOverlays) {
  const auto result = with_weights({"--out", at("a.json"), "--maps", at("maps"), "--overlays", at("look")});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(set.images.size(), 2u);
  ASSERT_GT(set.annotations.size(), 4u);
  double last = 1;
  for (const auto& annotation : set.annotations) {
    const io::CocoImage& image = set.images[static_cast<std::size_t>(annotation.image_id) - 1];
    const io::Rle mask = set.rle(annotation, image.height, image.width);
    EXPECT_EQ(io::rle_to_box(mask), annotation.box);
    if (annotation.image_id == set.annotations[0].image_id) EXPECT_LE(annotation.score, last);
    last = annotation.score;
  }
  const Tensor map = io::load_npy(folder_ / "maps/chelsea.npy");
  EXPECT_EQ(map.shape(), (Shape{75, 115}));
  const auto values = map.to_vector<float>();
  EXPECT_LE(*std::max_element(values.begin(), values.end()), 1);
  EXPECT_GT(*std::max_element(values.begin(), values.end()), 0.5);
  EXPECT_TRUE(fs::exists(folder_ / "look/rocket.jpg"));
  EXPECT_FALSE(annotations("a.json")[0].contains("emb"));
  const Json settings = Json::parse(text("a.json"))["info"]["settings"];
  EXPECT_EQ(settings["short-side"], 200);
  EXPECT_EQ(settings["features"], "out");
}

// Pictures are resized as Detectron2 resizes them: 75 x 115 by the short side to 200 x 307, and 150 x 90 by the long
// one to 320 x 192. The maps have as many cells as cover them.
TEST_F(FreeMaskTest, FeaturesFromFilesGiveTheSame) {
  const Words sides = {"--short-side", "200", "--long-side", "320"};
  Words features = {"features", at("in"), "--weights", at("r.safetensors"), "--out", at("f")};
  features.insert(features.end(), sides.begin(), sides.end());
  const auto made = test::run_usol(features);
  ASSERT_EQ(made.status, kSuccess) << made.err;
  const Tensor map = io::load_safetensors(folder_ / "f/chelsea.safetensors").at("features");
  EXPECT_EQ(map.shape(), (Shape{256, 7, 10}));
  EXPECT_EQ(io::load_safetensors(folder_ / "f/rocket.safetensors").at("features").shape(), (Shape{256, 10, 6}));
  const Tensor picture = io::decode_image(folder_ / "in/chelsea.png");
  const auto network = load_patch_backbone(io::load_safetensors(folder_ / "r.safetensors"), "r");
  EXPECT_EQ(network->features(normalised(resize(picture, 200, 307, io::Filter::kBilinear)), FeatureKind::kOut)
                .to_vector<float>(),
            map.to_vector<float>());

  ASSERT_EQ(with_weights({"--out", at("a.json")}).status, kSuccess);
  const auto files = discover({"--from-features", at("f"), "--patch", "32", "--out", at("b.json")});
  ASSERT_EQ(files.status, kSuccess) << files.err;
  EXPECT_EQ(annotations("a.json"), annotations("b.json"));
  // .npy of other programs.
  fs::create_directory(folder_ / "n");
  for (const char* name : {"chelsea", "rocket"})
    io::save_npy(folder_ / "n" / (std::string(name) + ".npy"),
                 io::load_safetensors(folder_ / "f" / (std::string(name) + ".safetensors")).at("features"));
  ASSERT_EQ(discover({"--from-features", at("n"), "--patch", "32", "--out", at("c.json")}).status, kSuccess);
  EXPECT_EQ(annotations("a.json"), annotations("c.json"));

  // Files of usol say their patch themselves, of a shard, too; those of others do not.
  ASSERT_EQ(discover({"--from-features", at("f"), "--out", at("d.json")}).status, kSuccess);
  EXPECT_EQ(annotations("a.json"), annotations("d.json"));
  fs::rename(folder_ / "f/features.json", folder_ / "f/features.1of2.json");
  ASSERT_EQ(discover({"--from-features", at("f"), "--out", at("s.json")}).status, kSuccess);
  EXPECT_EQ(annotations("a.json"), annotations("s.json"));
  const auto other = discover({"--from-features", at("n"), "--out", at("o.json")});
  EXPECT_EQ(other.status, kSomeInputsFailed);
  EXPECT_THAT(other.err, HasSubstr("freemask: 7 x 10 patches of 8 pixels are not the 200 x 307 pixels"));
  EXPECT_THAT(other.err, HasSubstr("features from another program's files need their patch"));
  fs::remove(folder_ / "n/rocket.npy");
  const auto missing = discover({"--from-features", at("n"), "--patch", "32", "--out", at("e.json")});
  EXPECT_EQ(missing.status, kSomeInputsFailed);
  EXPECT_THAT(missing.err, HasSubstr("no features for rocket.png"));
}

TEST_F(FreeMaskTest, EmbeddingsAreWrittenIfAskedForAndOutliveAMerge) {
  ASSERT_EQ(with_weights({"--out", at("a.json"), "--embeddings"}).status, kSuccess);
  const Json record = annotations("a.json")[0];
  ASSERT_EQ(record["emb"].size(), 128u);
  ASSERT_EQ(with_weights({"--out", at("1.json"), "--embeddings", "--shard", "1/2"}).status, kSuccess);
  ASSERT_EQ(with_weights({"--out", at("2.json"), "--embeddings", "--shard", "2/2"}).status, kSuccess);
  ASSERT_EQ(test::run_usol({"merge", at("1.json"), at("2.json"), "--out", at("m.json")}).status, kSuccess);
  EXPECT_EQ(text("m.json"), text("a.json"));
  // Readers that have no use for them.
  EXPECT_EQ(io::read_coco(folder_ / "a.json").annotations.size(), annotations("a.json").size());
}

// Where the far corner stands in place of a size (quirk of the release).
TEST_F(FreeMaskTest, TheReleasesBoxesAreCorners) {
  ASSERT_EQ(with_weights({"--out", at("a.json")}).status, kSuccess);
  ASSERT_EQ(with_weights({"--out", at("b.json"), "--preset", "release"}).status, kSuccess);
  const Json ours = annotations("a.json"), theirs = annotations("b.json");
  ASSERT_EQ(ours.size(), theirs.size());
  int whole = 0;  // masks without gaps
  for (std::size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i]["segmentation"], theirs[i]["segmentation"]);
    const double x = ours[i]["bbox"][0], width = ours[i]["bbox"][2];
    const double x0 = theirs[i]["bbox"][0], x1 = theirs[i]["bbox"][2];
    EXPECT_LE(x1 - x0, width);
    if (x1 - x0 < width) continue;
    EXPECT_EQ(x0, x - 0.5);
    ++whole;
  }
  EXPECT_GT(whole, 0);
}

TEST_F(FreeMaskTest, ATransformersPicturesAreResizedToWholePatches) {
  VitConfig config;
  config.width = 64;
  config.depth = 1;
  config.patch = 16;
  config.grid = 4;
  config.mlp_hidden = 64;
  ParamStore store(8);
  const Vit vit(Scope(store), config);
  io::save_safetensors(folder_ / "v.safetensors", store.state_dict());
  const auto result = discover({"--weights", at("v.safetensors"), "--out", at("a.json")});
  ASSERT_EQ(result.status, kSuccess) << result.err;
  EXPECT_GT(annotations("a.json").size(), 0u);
  const auto colours = discover({"--backbone", "colour", "--patch", "16", "--out", at("b.json")});
  EXPECT_EQ(colours.status, kSuccess) << colours.err;
  // A square frame is asked for.
  const auto square = with_weights({"--size", "96", "--out", at("c.json")});
  EXPECT_EQ(square.status, kSuccess) << square.err;
}

// Once, before the first picture: no ordinary one would fit.
TEST_F(FreeMaskTest, GridsThatAreTooFineAreRefusedAtTheStart) {
  const auto free_masks = [&](const std::string& out, const Words& words) {
    Words all{"discover", at("in"),    "--method",          "freemask", "--threads",
              "1",        "--weights", at("r.safetensors"), "--out",    at(out)};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all);
  };
  const std::vector<std::pair<Words, std::string>> cases = {
      {{"--layer", "0", "--short-side", "288"}, "a picture of 288 x 288 pixels has 5184 patches of 4, more than 5000"},
      {{"--layer", "0", "--size", "288"}, "has 5184 patches of 4"},
      {{"--layer", "0", "--size", "288", "--native-aspect"}, "has 5184 patches of 4"}};
  for (const auto& [words, message] : cases) {
    const auto result = free_masks("a.json", words);
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_FALSE(fs::exists(folder_ / "a.json.journal"));
  }
  EXPECT_EQ(free_masks("a.json", {"--layer", "1", "--size", "280"}).status, kSuccess);
  // One picture that is too long for it is a failure of that picture's.
  const auto one = free_masks("b.json", {"--layer", "0", "--short-side", "250", "--long-side", "400"});
  EXPECT_EQ(one.status, kSomeInputsFailed);
  EXPECT_THAT(one.err, HasSubstr("more than 5000"));
}

// A detector's backbone has a place of its own in the file.
TEST_F(FreeMaskTest, ADetectorsBackboneIsFound) {
  const auto network = io::load_safetensors(folder_ / "r.safetensors");
  std::map<std::string, Tensor> detector;
  for (const auto& [name, tensor] : network) detector["backbone.bottom_up." + name] = tensor;
  detector["roi_heads.box_head.fc1.weight"] = Tensor::zeros({4, 4});
  io::save_safetensors(folder_ / "d.safetensors", detector);
  ASSERT_EQ(with_weights({"--out", at("a.json")}).status, kSuccess);
  const auto found = discover({"--weights", at("d.safetensors"), "--out", at("b.json")});
  ASSERT_EQ(found.status, kSuccess) << found.err;
  EXPECT_THAT(found.err, HasSubstr("a detector, of which the backbone is taken"));
  EXPECT_EQ(annotations("a.json"), annotations("b.json"));
  ASSERT_EQ(
      discover({"--weights", at("d.safetensors"), "--entry", "backbone.bottom_up.", "--out", at("c.json")}).status,
      kSuccess);
  EXPECT_EQ(annotations("a.json"), annotations("c.json"));
}

// Source: Detectron2's INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST.
TEST(ShortSide, IsDetectron2s) {
  EXPECT_EQ(maskcut::ShortSide{}.px, 800);
  EXPECT_EQ(maskcut::ShortSide{}.most_px, 1333);
}

TEST_F(FreeMaskTest, SidesMustFitTogether) {
  const auto result = test::run_usol({"discover", at("in"), "--method", "freemask", "--weights", at("r.safetensors"),
                                      "--short-side", "200", "--long-side", "100", "--out", at("a.json")});
  EXPECT_EQ(result.status, kBadUsage);
  EXPECT_THAT(result.err, HasSubstr("short-side 200: longer than long-side 100"));
  EXPECT_EQ(test::run_usol({"features", at("in"), "--weights", at("r.safetensors"), "--padded", "--short-side", "64",
                            "--out", at("f")})
                .status,
            kBadUsage);
}

}  // namespace
}  // namespace usol::cli
