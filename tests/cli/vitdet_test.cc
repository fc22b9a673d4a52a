// ViTDet as a user has it: `usol train --arch vitdet` from a DINO ViT's weights, `usol info` and `usol predict` on what
// comes out.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"
#include "usol/io/safetensors.h"
#include "usol/models/vit.h"

namespace usol::cli {
namespace {

class VitDetVerbs : public testing::Test {
 protected:
  VitDetVerbs() {
    test::write_rectangles(folder_.path(), {{48, 64, 4, 36, 20, 52}, {48, 64, 8, 40, 20, 52}});
    VitConfig dino;
    dino.width = 64;
    dino.depth = 8;
    dino.mlp_hidden = 256;
    ParamStore store(1);
    const Vit vit(Scope(store), dino);
    io::save_safetensors(folder_ / "dino.safetensors", store.state_dict());
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult train(const std::string& out, const std::string& depth,
                            std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"train",
                                   "--arch",
                                   "vitdet",
                                   "--vit-width",
                                   "64",
                                   "--vit-depth",
                                   depth,
                                   "--image-side",
                                   "64",
                                   "--short-sides",
                                   "48",
                                   "--long-side",
                                   "64",
                                   "--channels",
                                   "8",
                                   "--hidden",
                                   "16",
                                   "--batch",
                                   "2",
                                   "--iterations",
                                   "2",
                                   "--steps",
                                   "2",
                                   "--proposals",
                                   "50",
                                   "--threads",
                                   "1",
                                   "--annotations",
                                   at("truth.json"),
                                   "--image-root",
                                   folder_.path().string(),
                                   "--out",
                                   at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_usol(words);
  }
  test::TempDir folder_;
};

TEST_F(VitDetVerbs, TrainFromDinoThenInfoAndPredict) {
  const auto trained = train("run", "8", {"--weights", at("dino.safetensors")});
  ASSERT_EQ(trained.status, 0) << trained.err;
  // Position, patches and twelve tensors of each block; the class token and the last norm have no place.
  EXPECT_NE(trained.err.find("99 of the detector's"), std::string::npos) << trained.err;
  const auto info = test::run_usol({"info", at("run/model_final.safetensors")});
  EXPECT_NE(info.out.find("ViT with 8 blocks, simple feature pyramid"), std::string::npos) << info.out;
  const auto found = test::run_usol({"predict", at("p0.png"), "--weights", at("run/model_final.safetensors"), "--out",
                                     at("found.json"), "--score", "0"});
  ASSERT_EQ(found.status, 0) << found.err;
  EXPECT_NE(found.err.find("Cascade Mask R-CNN on ViTDet"), std::string::npos) << found.err;
  const auto json = nlohmann::json::parse(test::read_text(folder_ / "found.json"));
  EXPECT_FALSE(json["annotations"].empty());
}

// The whole loop: DINO's ViT is what the first training starts from, the detector of before what a round does.
TEST_F(VitDetVerbs, SelfTrain) {
  const std::string detector =
      "[train]\narch = \"vitdet\"\nvit-width = 64\nvit-depth = 8\nimage-side = 64\nshort-sides = [48]\nlong-side = 64\n"
      "channels = 8\nhidden = 16\nbatch = 2\nreference-batch = 2\niterations = 2\nsteps = [1]\nproposals = 50\n"
      "optimizer = \"adamw\"\nlr = 1e-4\nlayer-decay = 0.7\n";
  test::write_text(folder_ / "base.toml", detector);
  test::write_text(folder_ / "round.toml", detector + "droploss = false\n");
  // Of a detector that has learned for two steps, the best objects whatever their score.
  test::write_text(folder_ / "loop.toml",
                   "[self-train]\nrounds = 1\nthresholds = [0.01]\ndetections = 3\ntrain-config = \"base.toml\"\n"
                   "round-config = \"round.toml\"\n");
  const auto result = test::run_usol(
      {"self-train", "--config", at("loop.toml"), "--image-root", folder_.path().string(), "--annotations",
       at("truth.json"), "--weights", at("dino.safetensors"), "--out", at("loop"), "--threads", "1",
       "--eval-annotations", at("truth.json"), "--eval-image-root", folder_.path().string()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("99 of the detector's"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("; 0 start anew"), std::string::npos) << result.err;
  const auto json = [&](const std::string& name) {
    return nlohmann::json::parse(test::read_text(folder_ / "loop" / name));
  };
  const auto stages = json("manifest.json")["stages"];
  EXPECT_EQ(stages.size(), 8u);
  EXPECT_FALSE(json("round1/predict/predictions.json")["annotations"].empty());
  const auto merged = json("round1/merge/masks.json")["annotations"];
  EXPECT_GT(merged.size(), 2u);
  EXPECT_TRUE(json("round1/eval/metrics.json").contains("mask"));
  const auto predict =
      test::run_usol({"predict", at("p0.png"), "--weights", at("loop/round1/train/model_final.safetensors"), "--out",
                      at("tta.json"), "--score", "0", "--tta", "--tta-short-sides", "32,48", "--tta-long-side", "64"});
  EXPECT_EQ(predict.status, 0) << predict.err;
}

TEST_F(VitDetVerbs, TheConfigsFitTogether) {
  // The files as they are, but for sizes that take seconds to fill with random weights; these are compared below.
  const std::map<std::string, std::string> smaller = {{"vit-width = 768", "vit-width = 64"},
                                                      {"vit-depth = 12", "vit-depth = 8"},
                                                      {"image-side = 1024", "image-side = 64"}};
  for (const std::string name :
       {"vitdet_self_train.toml", "vitdet_b_droploss.toml", "vitdet_b_self_train_round.toml"}) {
    std::string text = test::read_text(test::source_path("configs/" + name));
    for (const auto& [large, small] : smaller) {
      const auto found = text.find(large);
      EXPECT_EQ(found == std::string::npos, name == "vitdet_self_train.toml") << name << ": " << large;
      if (found != std::string::npos) text.replace(found, large.size(), small);
    }
    test::write_text(folder_ / name, text);
  }
  const auto shown = test::run_usol({"self-train", "--config", at("vitdet_self_train.toml"), "--image-root",
                                     folder_.path().string(), "--annotations", at("truth.json"), "--weights",
                                     at("dino.safetensors"), "--out", at("x"), "--dry-run"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  const auto base = verb_settings("train", {"--config", test::source_path("configs/vitdet_b_droploss.toml")});
  const auto round = verb_settings("train", {"--config", test::source_path("configs/vitdet_b_self_train_round.toml")});
  for (const char* key : {"arch", "vit-width", "vit-depth", "stages", "channels", "hidden"})
    EXPECT_EQ(base[key], round[key]) << key;
  EXPECT_EQ(base["droploss"], true);
  EXPECT_EQ(round["droploss"], false);
}

TEST_F(VitDetVerbs, WrongSizesAreNamed) {
  const auto odd = train("odd", "6");
  EXPECT_EQ(odd.status, kBadUsage);
  EXPECT_NE(odd.err.find("vit-depth 6"), std::string::npos) << odd.err;
}

}  // namespace
}  // namespace usol::cli
