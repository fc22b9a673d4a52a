// Which features a job takes of which network: kinds, layers, several of them, the tau that goes with them, and
// pictures of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/kept_log.h"
#include "tests/support/made_up_weights.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/principal_components.h"
#include "usol/models/vit.h"
#include "usol/pipeline/discover_job.h"
#include "usol/pipeline/features_job.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/sweep.h"

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace usol {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class FeatureKindsTest : public testing::Test {
 protected:
  FeatureKindsTest() {
    fs::create_directories(folder_ / "in/sub");
    fs::copy_file(test::source_path("tests/pictures/chelsea.jpg"), folder_ / "in/sub/cat.jpg");
    fs::copy_file(test::source_path("tests/pictures/coffee.jpg"), folder_ / "in/cup.jpg");
    ParamStore store(3);
    const Vit vit(Scope(store), {.width = 64, .depth = 3, .patch = 16, .grid = 4, .mlp_hidden = 64});
    io::save_safetensors(folder_ / "vit.safetensors", store.state_dict());
    for (const char* network : {"torchvision resnet", "timm convnext"})
      io::save_safetensors(folder_ / (std::string(network) + ".safetensors"),
                           test::made_up_file("conv_features.bin", network));
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Json info(const std::string& file) const { return Json::parse(io::read_coco(folder_ / file).info_json); }

  MaskcutJob maskcut(const std::string& weights) const {
    MaskcutJob job;
    job.inputs.inputs = {at("in")};
    job.features.weights = at(weights + ".safetensors");
    job.features.size = 128;
    job.crf = false;
    return job;
  }
  FeaturesJob features(const std::string& weights) const {
    FeaturesJob job;
    job.inputs.inputs = {at("in")};
    job.features.weights = at(weights + ".safetensors");
    job.features.size = 64;
    return job;
  }
  Tensor made(const std::string& folder) const {
    return io::load_safetensors(folder_ / folder / "sub/cat.safetensors").at("features");
  }
  template <class Work>
  std::string refusal(const Work& work) const {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage) << error.what();
      return error.what();
    }
    return "no error";
  }

  test::TempDir folder_;
  test::LoggedRun logged_;
};

TEST_F(FeatureKindsTest, KeysAndTheirTauWhereNothingIsNamed) {
  MaskcutJob job = maskcut("vit");
  ASSERT_EQ(job.run(logged_.run, {.coco = at("a.json")}), kSuccess);
  EXPECT_EQ(info("a.json")["settings"]["features"], "k");
  EXPECT_EQ(info("a.json")["settings"]["tau"], 0.15);
  EXPECT_THAT(logged_.log->text(), Not(HasSubstr("tau is")));
  MaskcutJob named = maskcut("vit");
  named.features.kind = "k";
  named.features.layers = {2};
  named.tau = 0.15;
  ASSERT_EQ(named.run({}, {.coco = at("b.json")}), kSuccess);
  EXPECT_EQ(io::read_coco(folder_ / "a.json").annotations.size(), io::read_coco(folder_ / "b.json").annotations.size());
}

TEST_F(FeatureKindsTest, AConvolutionalNetworksMaps) {
  for (const char* network : {"torchvision resnet", "timm convnext"}) {
    MaskcutJob job = maskcut(network);
    job.features.layers = {2};
    ASSERT_EQ(job.run(logged_.run, {.coco = at("a.json"), .dump = at("dump"), .dumped = "K"}), kSuccess) << network;
    EXPECT_EQ(info("a.json")["settings"]["features"], "out");
    EXPECT_EQ(info("a.json")["settings"]["layer"], Json({2}));
    EXPECT_EQ(info("a.json")["settings"]["tau"], 0.15);
    EXPECT_EQ(job.features.patch, 16);
    EXPECT_THAT(logged_.log->text(), HasSubstr("tau is 0.15, as for DINO's keys: nobody has published one"));
    for (const char* made : {"a.json", "dump"}) fs::remove_all(folder_ / made);
  }
  MaskcutJob tuned = maskcut("timm convnext");
  tuned.tau = 0.7;
  test::LoggedRun quiet;
  ASSERT_EQ(tuned.run(quiet.run, {.coco = at("a.json")}), kSuccess);
  EXPECT_EQ(info("a.json")["settings"]["tau"], 0.7);
  EXPECT_THAT(quiet.log->text(), Not(HasSubstr("tau is")));
}

TEST_F(FeatureKindsTest, PicturesThatCannotBeCutAreAWarning) {
  MaskcutJob job = maskcut("torchvision resnet");  // its maps have no negative numbers: every cosine is above tau
  job.tau = -0.5;
  logged_.run.verbosity = Verbosity::kQuiet;
  ASSERT_EQ(job.run(logged_.run, {.coco = at("a.json")}), kSuccess);
  EXPECT_THAT(io::read_coco(folder_ / "a.json").annotations, IsEmpty());
  EXPECT_THAT(logged_.log->text(), HasSubstr("2 of 2 pictures could not be divided"));
  MaskcutJob tuned = maskcut("vit");
  test::LoggedRun other;
  ASSERT_EQ(tuned.run(other.run, {.coco = at("b.json")}), kSuccess);
  EXPECT_THAT(other.log->text(), Not(HasSubstr("could not be divided")));
  const auto counted = [](std::int64_t uncut) {
    UndividedPictures counts;
    for (std::int64_t i = 0; i < 4; ++i) counts.add(i < uncut);
    test::LoggedRun run;
    counts.say(run.run, maskcut::why_all_connected(0.15, true));
    return run.log->text();
  };
  EXPECT_EQ(counted(2), "");  // pictures of one colour are no reason
  EXPECT_THAT(
      counted(3),
      HasSubstr("3 of 4 pictures could not be divided, since all patches of each have a cosine of 0.15 or more"));
}

// Keys as DINOv2's: all cosines are high.
TEST_F(FeatureKindsTest, EveryMethodSaysThatThePicturesCannotBeDivided) {
  ParamStore store(3);
  const Vit vit(Scope(store), {.width = 64, .depth = 3, .patch = 16, .grid = 4, .mlp_hidden = 64});
  auto alike = store.state_dict();
  alike.at("blocks.2.attn.qkv.bias").fill(5);
  io::save_safetensors(folder_ / "alike.safetensors", alike);
  Tensor answers = Tensor::zeros({1, 64, 1, 1});
  io::save_safetensors(folder_ / "layer.safetensors", {{"weight", answers}, {"bias", Tensor::full({1}, 1)}});
  const std::string others = "take others (of DINOv2 the output instead of keys, see docs/features.md)";
  const auto discover = [&](const std::string& weights, const std::vector<std::pair<std::string, std::string>>& own) {
    DiscoverJob job;
    SettingsTable settings("discover");
    job.declare(settings);
    for (const auto& [name, value] : own) settings.set(name, value);
    job.inputs.inputs = {at("in")};
    job.features.weights = at(weights + ".safetensors");
    test::LoggedRun logged;
    logged.run.verbosity = Verbosity::kQuiet;
    logged.run.existing = Existing::kReplace;
    EXPECT_EQ(job.run(logged.run, {.coco = at("a.json")}), kSuccess);
    return logged.log->text();
  };
  const std::string undivided = "warning: 2 of 2 pictures could not be divided, since ";
  for (const char* method : {"tokencut", "tokencut-3ev", "bisecting-kmeans"}) {
    EXPECT_EQ(discover("alike", {{"method", method}}),
              undivided + "all patches of each have a cosine above 0.2: these features need a larger tau, or " +
                  others + "\n")
        << method;
    EXPECT_EQ(discover("vit", {{"method", method}, {"tau", "0.8"}}), "") << method;
  }
  EXPECT_EQ(
      discover("alike", {{"method", "tokencut"}, {"task", "saliency"}, {"tau", "0.3"}}),
      undivided + "all patches of each have a cosine above 0.3: these features need a larger tau, or " + others + "\n");
  EXPECT_EQ(discover("alike", {{"method", "maskcut"}}),
            undivided + "all patches of each have a cosine of 0.15 or more: these features need a larger tau, or " +
                others + "\n");
  EXPECT_EQ(discover("alike", {{"method", "lost"}}),
            undivided + "the least similar patch of each resembles all others, and the object is the whole: " + others +
                "\n");
  EXPECT_EQ(discover("alike", {{"method", "found"}, {"found-stage", "background"}}),
            undivided + "all patches of each have a cosine above 0.3 with that of least attention: " + others + "\n");
  EXPECT_EQ(discover("vit", {{"method", "found"}, {"found-weights", at("layer.safetensors")}}),
            undivided +
                "the trained layer has one answer for all patches of each: it needs the features that it was "
                "trained on\n");
  EXPECT_EQ(discover("alike", {{"method", "dino-seg"}, {"head", "0"}}), "");  // by attention, not by cosines
}

TEST_F(FeatureKindsTest, SeveralKindsOfSeveralLayers) {
  FeaturesJob job = features("vit");
  job.features.kind = "k+out";
  job.features.layers = {0, -1};
  ASSERT_EQ(job.run({}, at("f")), kSuccess);
  EXPECT_EQ(made("f").shape(), (Shape{4 * 64, 4, 4}));
  EXPECT_EQ(info("f/features.json")["settings"]["features"], "k+out");
  job.features.kind = "k,out";
  ASSERT_EQ(job.run({}, at("g")), kSuccess);
  EXPECT_EQ(made("f").to_vector<float>(), made("g").to_vector<float>());
  // The first 64 are k of layer 0 at unit length.
  FeaturesJob alone = features("vit");
  alone.features.layers = {0};
  ASSERT_EQ(alone.run({}, at("h")), kSuccess);
  const auto joined = made("f").to_vector<float>(), keys = made("h").to_vector<float>();
  double dot = 0, square = 0, unit = 0;
  for (std::size_t d = 0; d < 64; ++d) {
    dot += static_cast<double>(joined[d * 16]) * keys[d * 16];
    square += static_cast<double>(keys[d * 16]) * keys[d * 16];
    unit += static_cast<double>(joined[d * 16]) * joined[d * 16];
  }
  EXPECT_NEAR(unit, 1, 1e-5);
  EXPECT_NEAR(dot, std::sqrt(square), 1e-4 * std::sqrt(square));
}

TEST_F(FeatureKindsTest, StagesOfAConvolutionalNetworkOnOneGrid) {
  FeaturesJob job = features("torchvision resnet");
  job.features.layers = {1, 2, 3};
  ASSERT_EQ(job.run({}, at("f")), kSuccess);
  EXPECT_EQ(made("f").shape(), (Shape{32 + 64 + 128, 8, 8}));
}

TEST_F(FeatureKindsTest, WhatANetworkHasNotIsRefused) {
  FeaturesJob job = features("torchvision resnet");
  job.features.kind = "k";
  EXPECT_THAT(refusal([&] { job.run({}, at("f")); }),
              HasSubstr("features k: ResNet with 2-1-2-1 bottlenecks has none of that kind, but has out"));
  job.features.kind = "";
  job.features.attention = true;
  EXPECT_THAT(refusal([&] { job.run({}, at("f")); }),
              HasSubstr("has no attention: give a vision transformer's weights"));
  job = features("vit");
  job.features.kind = "k,keys";
  EXPECT_EQ(refusal([&] { job.run({}, at("f")); }), "features: expected q, k, v, kqv or out, got 'keys'");
  job.features.kind = "k,k";
  EXPECT_EQ(refusal([&] { job.run({}, at("f")); }), "features: k of layer 2 is there twice");
  job.features.kind = "";
  job.features.layers = {3};
  EXPECT_THAT(refusal([&] { job.run({}, at("f")); }), HasSubstr("expected a layer in 0 to 2 of ViT width 64"));
  EXPECT_FALSE(fs::exists(folder_ / "f"));
}

TEST_F(FeatureKindsTest, DiscoverAndSweepsRecordWhatTheyTook) {
  DiscoverJob lost;
  lost.inputs.inputs = {at("in")};
  lost.features.weights = at("timm convnext.safetensors");
  lost.features.size = 128;
  ASSERT_EQ(lost.run({}, {.coco = at("l.json")}), kSuccess);
  EXPECT_EQ(info("l.json")["settings"]["features"], "out");

  SweepConfig wanted;
  wanted.maskcut = maskcut("vit");
  wanted.parameters = {"features=k,k+out"};
  wanted.out = at("s");
  ASSERT_EQ(sweep(wanted, {}).status, kSuccess);
  for (const char* kind : {"k", "k+out"}) {
    const Json settings = info(std::string("s/features=") + kind + "/masks.json")["settings"];
    EXPECT_EQ(settings["features"], kind);
    EXPECT_EQ(settings["tau"], 0.15);
  }
}

// ---- pictures of the principal components

TEST_F(FeatureKindsTest, PcaPicturesAreOfAllPicturesPatches) {
  FeaturesJob job = features("vit");
  job.pca.folder = at("pca");
  ASSERT_EQ(job.run({}, at("f")), kSuccess);
  maskcut::PatchMoments moments;
  for (const char* name : {"cup", "sub/cat"})
    moments.add(io::load_safetensors(folder_ / "f" / (std::string(name) + ".safetensors")).at("features"));
  const Tensor expected = maskcut::component_colours(moments.components(3).scores(made("f")), 16);
  const Tensor picture = io::decode_image(folder_ / "pca/sub/cat.png");
  EXPECT_EQ(picture.shape(), (Shape{64, 64, 3}));
  EXPECT_EQ(picture.to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>());

  // Of each picture's own patches.
  job.pca.of = "picture";
  EXPECT_THROW(job.run({}, at("f")), Error) << "exists";
  usol::Run again;
  again.existing = Existing::kContinue;
  ASSERT_EQ(job.run(again, at("f")), kSuccess) << "features are done, pictures are made anew";
  maskcut::PatchMoments own;
  own.add(made("f"));
  EXPECT_EQ(io::decode_image(folder_ / "pca/sub/cat.png").to_vector<std::uint8_t>(),
            maskcut::component_colours(own.components(3).scores(made("f")), 16).to_vector<std::uint8_t>());
}

TEST_F(FeatureKindsTest, PcaOfAShardIsOfItsPicturesOneByOne) {
  FeaturesJob job = features("vit");
  job.pca.folder = at("pca");
  job.shard.text = "2/2";
  EXPECT_THAT(refusal([&] { job.run({}, at("f")); }), HasSubstr("a shard has not all pictures"));
  job.pca.of = "picture";
  ASSERT_EQ(job.run({}, at("f")), kSuccess);
  EXPECT_TRUE(fs::exists(folder_ / "pca/sub/cat.png"));
  EXPECT_FALSE(fs::exists(folder_ / "pca/cup.png"));
}

TEST_F(FeatureKindsTest, PcaLeavesOutPicturesThatFailed) {
  test::write_text(folder_ / "in/broken.jpg", "no picture");
  FeaturesJob job = features("vit");
  job.pca.folder = at("pca");
  EXPECT_EQ(job.run({}, at("f")), kSomeInputsFailed);
  EXPECT_TRUE(fs::exists(folder_ / "pca/cup.png"));
  EXPECT_FALSE(fs::exists(folder_ / "pca/broken.png"));
}

}  // namespace
}  // namespace usol
