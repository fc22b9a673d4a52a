// The files of configs/, setting by setting: what the paper and its code say (their sources stand in the files), and
// nothing beside it. A file is read with the verb that its section names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "usol/cli/run_verb.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

// What a file changes, and to what: all other settings are the verb's own.
using Changes = std::map<std::string, Json>;

Json list(std::initializer_list<double> numbers) { return numbers; }

Changes with(Changes changes, const Changes& more) {
  for (const auto& [key, value] : more) changes[key] = value;
  return changes;
}

// The detector of the paper. Its rates and DropLoss's overlap are the verb's defaults, which VerbDefaults holds.
const Changes kSelfTrainRound = {
    {"iterations", 80000}, {"lr", 0.01},        {"steps", list({79999})}, {"gamma", 1},
    {"rpn-nms", 0.7},      {"proposals", 1000}, {"weight-decay", 0.0001}, {"droploss", false},
    {"paste-least", 0.5}};

Changes low_shot(std::int64_t iterations, std::int64_t first, std::int64_t second, double rate, double faster_by) {
  Json faster = Json::array({"roi_heads.mask_head.predictor"});
  for (const char* stage : {"0", "1", "2"})
    for (const char* layer : {"cls_score", "bbox_pred"})
      faster.push_back("roi_heads.box_predictor." + std::string(stage) + "." + layer);
  return {{"iterations", iterations},
          {"steps", list({static_cast<double>(first), static_cast<double>(second)})},
          {"lr", rate},
          {"gamma", 0.1},
          {"weight-decay", 0.0001},
          {"clip", 0},
          {"rpn-nms", 0.7},
          {"proposals", 2000},
          {"short-sides", list({640, 672, 704, 736, 768, 800})},
          {"droploss", false},
          {"copy-paste", false},
          {"precise-bn-every", 5000},
          {"faster", faster},
          {"faster-by", faster_by}};
}

const Changes kVitDet = {
    {"arch", "vitdet"},  {"drop-path", 0.1},      {"long-side", 1024},    {"optimizer", "adamw"},
    {"lr", 0.0001},      {"weight-decay", 0.1},   {"layer-decay", 0.7},   {"clip", 0},
    {"batch", 64},       {"reference-batch", 64}, {"iterations", 184375}, {"steps", list({163889, 177546})},
    {"gamma", 0.1},      {"warmup", 250},         {"rpn-nms", 0.7},       {"proposals", 1000},
    {"droploss", false}, {"copy-paste", false}};
const Changes kVitDetOnMasks = with(
    kVitDet,
    {{"batch", 16}, {"iterations", 40000}, {"steps", list({35556, 38519})}, {"droploss", true}, {"copy-paste", true}});

// AdelaiDet's and FreeSOLO's settings beside Detectron2's; what the detector itself has stands in its settings.
const Changes kSolov2 = {{"detector", "solov2"},   {"short-sides", list({640, 672, 704, 736, 768, 800})},
                         {"warmup-factor", 0.01},  {"gamma", 0.1},
                         {"weight-decay", 0.0001}, {"clip", 0}};
// The second round. FreeSOLO's rate is constant, for which there must be a step.
const Changes kFreeSolo = with(kSolov2, {{"loss", "freesolo"},
                                         {"blocks", list({3, 4, 23, 3})},
                                         {"views", "weak-and-strong"},
                                         {"paste-objects", "any"},
                                         {"paste-least", 1},
                                         {"iterations", 30000},
                                         {"lr", 0.001},
                                         {"steps", list({29999})},
                                         {"gamma", 1}});
const Changes kLost = {{"arch", "resnet-c4"},
                       {"stages", 1},
                       {"mask-head", "off"},
                       {"box-of", "class"},
                       {"norm-after-res5", true},
                       {"freeze-at", 2},
                       {"rpn-nms", 0.7},
                       {"proposals", 2000},
                       {"droploss", false},
                       {"copy-paste", false},
                       {"short-sides", list({480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800})},
                       {"iterations", 10000},
                       {"lr", 0.02},
                       {"steps", list({18000, 22000})},
                       {"gamma", 0.1},
                       {"warmup", 100},
                       {"weight-decay", 0.0001},
                       {"clip", 0},
                       {"precise-bn-every", 5000}};

const std::map<std::string, Changes> kTrain = {
    {"solov2_r50.toml", with(kSolov2, {{"freeze", "res2"},
                                       {"copy-paste", false},
                                       {"iterations", 270000},
                                       {"lr", 0.01},
                                       {"steps", list({210000, 250000})}})},
    {"boxinst_solov2_r50.toml", with(kSolov2, {{"loss", "boxinst"},
                                               {"freeze", "res2"},
                                               {"copy-paste", false},
                                               {"iterations", 90000},
                                               {"lr", 0.01},
                                               {"steps", list({60000, 80000})}})},
    {"freesolo_r101.toml", with(kFreeSolo, {{"truth-boxes", "corners"}})},
    {"freesolo_r101_self_train.toml", kFreeSolo},
    {"cutler_cascade.toml", {}},
    {"cutler_mask_rcnn.toml", {{"stages", 1}}},
    {"cutler_cascade_self_train.toml", kSelfTrainRound},
    {"cutler_cascade_self_train_release.toml", with(kSelfTrainRound, {{"lr", 0.005}})},
    {"low_shot_1_percent.toml", low_shot(3600, 2400, 3200, 0.04, 4)},
    {"low_shot_2_percent.toml", low_shot(3600, 2400, 3200, 0.04, 4)},
    {"low_shot_5_percent.toml", low_shot(4500, 3000, 4000, 0.04, 4)},
    {"low_shot_10_percent.toml", low_shot(9000, 6000, 8000, 0.04, 4)},
    {"low_shot_20_percent.toml", low_shot(18000, 12000, 16000, 0.04, 4)},
    {"low_shot_30_percent.toml", low_shot(27000, 18000, 24000, 0.04, 4)},
    {"low_shot_40_percent.toml", low_shot(36000, 24000, 32000, 0.04, 4)},
    {"low_shot_50_percent.toml", low_shot(45000, 30000, 40000, 0.02, 2)},
    {"low_shot_60_percent.toml", low_shot(54000, 36000, 48000, 0.02, 2)},
    {"low_shot_80_percent.toml", low_shot(72000, 48000, 64000, 0.02, 2)},
    {"low_shot_100_percent.toml", low_shot(90000, 60000, 80000, 0.02, 2)},
    {"lost_detector.toml", kLost},
    {"lost_detector_classes.toml", with(kLost, {{"iterations", 24000}})},
    {"vitdet_b_cascade.toml", kVitDet},
    {"vitdet_l_cascade.toml",
     with(kVitDet, {{"vit-width", 1024}, {"vit-depth", 24}, {"drop-path", 0.4}, {"layer-decay", 0.8}})},
    {"vitdet_b_droploss.toml", kVitDetOnMasks},
    {"vitdet_b_self_train_round.toml",
     with(kVitDetOnMasks,
          {{"iterations", 20000}, {"steps", list({19999})}, {"gamma", 1}, {"droploss", false}, {"paste-least", 0.5}})},
};

const std::map<std::string, Changes> kSelfTrain = {
    {"self_train.toml", {{"train-config", "cutler_cascade.toml"}, {"round-config", "cutler_cascade_self_train.toml"}}},
    {"self_train_release.toml",
     {{"preset", "release"},
      {"train-config", "cutler_cascade.toml"},
      {"round-config", "cutler_cascade_self_train_release.toml"}}},
    {"vitdet_self_train.toml",
     {{"train-config", "vitdet_b_droploss.toml"}, {"round-config", "vitdet_b_self_train_round.toml"}}},
};

// Beside a training: the predictions that it learns from. Source: FreeSOLO's gen_pseudo_labels.sh and .py.
const std::map<std::string, Changes> kPredict = {
    {"freesolo_r101_self_train.toml", {{"score", 0.3}, {"most", 20}, {"widest-share", 0.95}}}};

std::string config(const std::string& name) { return test::source_path("configs/" + name); }

// All values that a verb would work with, what is given for one run included: lines `key = value`, whose values are
// JSON.
Changes values(const std::string& verb, const std::vector<std::string>& arguments) {
  Changes result;
  std::istringstream file(verb_settings_file(verb, arguments));
  for (std::string line; std::getline(file, line);)
    if (const auto at = line.find(" = "); at != std::string::npos)
      result[line.substr(0, at)] = Json::parse(line.substr(at + 3));
  return result;
}

void expect_settings(const std::string& verb, const std::string& name, const Changes& changes) {
  // A detector's settings, a backbone's and a loss's are there where it is chosen.
  Words chosen;
  for (const char* choice : {"detector", "arch", "loss"})
    if (const auto word = changes.find(choice); word != changes.end())
      chosen.insert(chosen.end(), {std::string("--") + choice, word->second.get<std::string>()});
  const Changes own = values(verb, chosen), got = values(verb, {"--config", config(name)});
  EXPECT_EQ(got, with(own, changes)) << name;
}

TEST(Configs, EachIsReadByItsVerbAndHeldToItsSource) {
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(config(""))) files.insert(entry.path().filename());
  for (const auto& [name, changes] : kTrain) {
    EXPECT_EQ(files.erase(name), 1u) << name;
    EXPECT_NE(test::read_text(config(name)).find("\n[train]\n"), std::string::npos) << name;
    expect_settings("train", name, changes);
  }
  for (const auto& [name, changes] : kSelfTrain) {
    EXPECT_EQ(files.erase(name), 1u) << name;
    EXPECT_NE(test::read_text(config(name)).find("\n[self-train]\n"), std::string::npos) << name;
    expect_settings("self-train", name, changes);
  }
  for (const auto& [name, changes] : kPredict) expect_settings("predict", name, changes);
  EXPECT_TRUE(files.empty()) << "configs/" << *files.begin() << " is not looked at here";
}

// CutLER's public code, by the same file: its rates.
TEST(Configs, ThePresetOfThePublicCode) {
  const Json settings = verb_settings("train", {"--config", config("cutler_cascade.toml"), "--preset", "release"});
  EXPECT_EQ(settings["lr"], 0.01);
  EXPECT_EQ(settings["gamma"], 0.02);
}

// What the files leave to the verbs. Source: Wang et al. 2023 (CutLER), section 4 and its public configuration.
TEST(VerbDefaults, Train) {
  const Changes settings = values("train", {});
  const Changes expected = {{"preset", "paper"},
                            {"exif", true},
                            {"copy-paste", true},
                            {"long-side", 1333},
                            {"flip", 0.5},
                            {"paste-least", 0.3},
                            {"group-size", 2},
                            {"arch", "resnet"},
                            {"blocks", list({3, 4, 6, 3})},
                            {"resnet-channels", 256},
                            {"stages", 3},
                            {"channels", 256},
                            {"hidden", 1024},
                            {"proposals", 4000},
                            {"rpn-nms", 0.65},
                            {"droploss", true},
                            {"droploss-iou", 0.01},
                            {"batch", 16},
                            {"reference-batch", 16},
                            {"iterations", 160000},
                            {"lr", 0.005},
                            {"steps", list({80000})},
                            {"gamma", 0.2},
                            {"warmup", 1000},
                            {"warmup-factor", 0.001},
                            {"optimizer", "sgd"},
                            {"momentum", 0.9},
                            {"weight-decay", 5e-5},
                            {"clip", 1},
                            {"faster", Json::array()},
                            {"faster-by", 1},
                            {"accumulate", 1},
                            {"ema", 0},
                            {"precise-bn", 200},
                            {"precise-bn-every", 0},
                            {"beta1", 0.9},
                            {"beta2", 0.999},
                            {"epsilon", 1e-8},
                            {"layer-decay", 1},
                            {"short-sides", list({240, 320, 480, 640, 672, 704, 736, 768, 800, 1024})}};
  for (const auto& [key, value] : expected) {
    ASSERT_TRUE(settings.contains(key)) << key;
    EXPECT_EQ(settings.at(key), value) << key;
  }
  const Changes with_vitdet = values("train", {"--arch", "vitdet"});
  EXPECT_EQ(with_vitdet.at("vit-width"), 768);
  EXPECT_EQ(with_vitdet.at("vit-depth"), 12);
  EXPECT_EQ(with_vitdet.at("image-side"), 1024);
  EXPECT_EQ(with_vitdet.at("drop-path"), 0.1);
  EXPECT_FALSE(with_vitdet.contains("blocks") || settings.contains("vit-width"));
  // Records have the settings of both, as they had before each backbone declared its own, and in that order; the
  // detector's kind is recorded where it is not the usual one.
  const Json recorded = verb_settings("train", {});
  EXPECT_THAT(recorded.dump(),
              testing::HasSubstr(R"("arch":"resnet","stages":3,"blocks":[3,4,6,3],"resnet-channels":256,)"
                                 R"("vit-width":768,"vit-depth":12,"image-side":1024,"drop-path":0.1,"channels":256,)"
                                 R"("hidden":1024,"rpn-nms":0.65,"proposals":4000,"droploss":true,)"
                                 R"("droploss-iou":0.01,"batch":16,)"));
  EXPECT_FALSE(recorded.contains("detector") || recorded.contains("warmup-factor"));
  EXPECT_EQ(settings.at("detector"), "rcnn");
  EXPECT_THROW(verb_settings("train", {"--vit-depth", "12"}), Error);
}

// Source: AdelaiDet's MODEL.SOLOV2 and MODEL.BOXINST; the release of FreeSOLO.
TEST(VerbDefaults, TrainSolov2) {
  const Changes settings = values("train", {"--detector", "solov2"});
  const Changes expected = {{"arch", "resnet"},     {"norm", "FrozenBN"},       {"freeze", "none"},
                            {"channels", 256},      {"instance-channels", 512}, {"instance-convolutions", 4},
                            {"mask-channels", 128}, {"kernel-channels", 256},   {"loss", "supervised"},
                            {"dice-weight", 3}};
  for (const auto& [key, value] : expected) {
    ASSERT_TRUE(settings.contains(key)) << key;
    EXPECT_EQ(settings.at(key), value) << key;
  }
  EXPECT_FALSE(settings.contains("stages") || settings.contains("droploss") || settings.contains("pairwise-weight"));
  const Changes free = values("train", {"--detector", "solov2", "--loss", "freesolo"});
  EXPECT_EQ(free.at("pairwise-weight"), 1);
  EXPECT_EQ(free.at("pairwise-warmup"), 1000);
  EXPECT_EQ(free.at("bottom-px"), 10);
  EXPECT_EQ(free.at("embedding"), 128);
  const Changes boxes = values("train", {"--detector", "solov2", "--loss", "boxinst"});
  EXPECT_EQ(boxes.at("pairwise-weight"), 1);
  EXPECT_EQ(boxes.at("pairwise-warmup"), 10000);
  EXPECT_EQ(boxes.at("bottom-px"), 10);
  EXPECT_FALSE(boxes.contains("embedding") || boxes.contains("dice-weight"));
  EXPECT_EQ(values("train", {}).at("norm"), "SyncBN");
  EXPECT_THROW(verb_settings("train", {"--detector", "solov2", "--pairwise-weight", "2"}), Error);
}

TEST(VerbDefaults, MaskcutSelfTrainAndPredict) {
  const std::map<std::string, Changes> verbs = {
      {"maskcut",
       {{"preset", "paper"},
        {"masks", 3},
        {"size", 480},
        {"patch", 8},
        {"features", ""},
        {"layer", list({-1})},
        {"crf", true}}},
      {"self-train", {{"preset", "paper"}, {"rounds", 3}, {"thresholds", list({0.7, 0.65})}, {"detections", 30}}},
      {"predict", {{"score", 0.35}, {"nms", 0.5}, {"most", 100}, {"widest-share", 0}}},
  };
  for (const auto& [verb, expected] : verbs) {
    const Changes settings = values(verb, {});
    for (const auto& [key, value] : expected) {
      ASSERT_TRUE(settings.contains(key)) << verb << ": " << key;
      EXPECT_EQ(settings.at(key), value) << verb << ": " << key;
    }
  }
}

}  // namespace
}  // namespace usol::cli
