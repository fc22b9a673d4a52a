// The verbs with DINOv3's weights, as a user types them: masks, features, what a file is, names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/made_up_weights.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/safetensors.h"
#include "usol/models/vit.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class Dinov3Cli : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  static std::string cat() { return test::source_path("tests/pictures/chelsea.jpg"); }

  /// A layout's file of tests/golden/make_dinov3.py, its patches 16 pixels wide.
  std::string weights(const std::string& layout, const std::string& name) const {
    StateDict state = test::made_up_file("dinov3.bin", layout);
    for (auto& [key, tensor] : state)
      if (tensor.rank() == 4) tensor = test::made_up(key, {tensor.size(0), 3, 16, 16}, 0, 0.1);
    fs::create_directories(fs::path(at(name)).parent_path());
    io::save_safetensors(at(name), state);
    return at(name);
  }
  static test::ProcessResult usol(const std::string& verb, const Words& words) {
    Words all = {verb, "--size", "96", "--threads", "1", cat()};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all);
  }

  test::TempDir folder_;
};

TEST_F(Dinov3Cli, MasksInBothPrecisions) {
  const std::string file = weights("hf", "w.safetensors");
  const auto f32 = usol("maskcut", {"--weights", file, "--no-crf", "--tau", "0.5", "--out", at("a.json")});
  ASSERT_EQ(f32.status, kSuccess) << f32.err;
  EXPECT_THAT(f32.err, HasSubstr("DINOv3 ViT width 64 depth 2 patch 16 with 4 storage tokens on cpu"));
  EXPECT_THAT(f32.err, Not(HasSubstr("colours are normalised")));
  const Json masks = Json::parse(text("a.json"));
  EXPECT_GE(masks["annotations"].size(), 1u);
  EXPECT_FALSE(masks["info"].contains("normalisation"));
  EXPECT_FALSE(masks["info"]["settings"].contains("normalisation"));
  const auto bf16 = usol("maskcut", {"--weights", file, "--no-crf", "--precision", "bf16", "--out", at("b.json")});
  if (bf16.status == kSuccess)
    EXPECT_THAT(text("b.json"), HasSubstr("\"precision\":\"bf16\""));
  else
    EXPECT_THAT(bf16.err, HasSubstr("use --precision f32")) << "a CPU without bf16 products";
}

TEST_F(Dinov3Cli, OtherMethodsTakeItToo) {
  const std::string file = weights("timm eupe", "w.safetensors");
  const auto tokencut = usol("discover", {"--method", "tokencut", "--weights", file, "--out", at("t.json")});
  EXPECT_EQ(tokencut.status, kSuccess) << tokencut.err;
  const auto dino_seg =
      usol("discover", {"--method", "dino-seg", "--head", "0", "--weights", file, "--out", at("d.json")});
  EXPECT_EQ(dino_seg.status, kSuccess) << dino_seg.err;
}

TEST_F(Dinov3Cli, FeaturesOfSatellitePictures) {
  const std::string file = weights("hf", "dinov3-vitl16-pretrain-sat493m/model.safetensors");
  const auto features = [&](const Words& more) {
    Words words = {"--weights", file, "--force", "--out", at("f")};
    words.insert(words.end(), more.begin(), more.end());
    const auto run = usol("features", words);
    EXPECT_EQ(run.status, kSuccess) << run.err;
    return std::pair(io::load_safetensors(folder_ / "f/chelsea.safetensors").at("features").to_vector<float>(),
                     std::pair(run.err, Json::parse(text("f/features.json"))["info"]));
  };
  const auto [satellite, said] = features({});
  EXPECT_THAT(said.first,
              HasSubstr("mean 0.43 0.411 0.296 and deviation 0.213 0.156 0.143, since its name says sat493m"));
  EXPECT_FLOAT_EQ(said.second["normalisation"]["deviation"][2].get<float>(), 0.143f);
  EXPECT_EQ(features({"--normalisation", "satellite"}).first, satellite);
  const auto [plain, other] = features({"--normalisation", "imagenet"});
  EXPECT_NE(plain, satellite);
  EXPECT_EQ(other.second["settings"]["normalisation"], "imagenet");
  EXPECT_FALSE(other.second.contains("normalisation"));
}

TEST_F(Dinov3Cli, InfoSaysWhatItIsAndWeightsWritesTheOriginalNames) {
  for (const char* layout : {"hf gated", "timm", "timm eupe", "original gated"}) {
    SCOPED_TRACE(layout);
    const std::string file = weights(layout, "w.safetensors");
    const auto info = test::run_usol({"info", file});
    EXPECT_EQ(info.status, kSuccess) << info.err;
    EXPECT_THAT(info.out, HasSubstr("fits          DINOv3 ViT width 64 depth 2 patch 16 with 4 storage tokens"));
    EXPECT_THAT(info.out, HasSubstr("DINOv3 (rotary positions)"));
    ASSERT_EQ(test::run_usol({"weights", file, "--force", "--out", at("o.safetensors")}).status, kSuccess);
    const auto written = io::load_safetensors(folder_ / "o.safetensors");
    EXPECT_TRUE(written.contains("blocks.1.ls2.gamma"));
    EXPECT_TRUE(written.contains("rope_embed.periods"));
    EXPECT_TRUE(written.contains("storage_tokens"));
    const auto again = Json::parse(test::run_usol({"info", "--json", at("o.safetensors")}).out);
    EXPECT_EQ(again["names"].size(), 0u);
    EXPECT_EQ(again["parameters"], Json::parse(test::run_usol({"info", "--json", file}).out)["parameters"]);
  }
}

}  // namespace
}  // namespace usol::cli
