// `usol maskcut`, `features` and `run` as a user types them, on the bundled pictures, small and quick.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/stopped_run.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/models/vit.h"
#include "usol/tensor/generator.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using test::ProcessOptions;
using test::ProcessResult;

class MaskcutTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }
  static std::string pictures() { return test::source_path("tests/pictures"); }

  // usol VERB words..., small, on one thread.
  static ProcessResult usol(const std::string& verb, const Words& words, const ProcessOptions& options = {}) {
    Words all = {verb, "--size", "96", "--threads", "1"};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all, options);
  }
  ProcessResult colour(const Words& words, const ProcessOptions& options = {}) const {
    Words all = {"--backbone", "colour", "--no-crf"};
    all.insert(all.end(), words.begin(), words.end());
    return usol("maskcut", all, options);
  }
  void expect_usage_error(const Words& words, const std::string& part) const {
    const auto result = test::run_usol(words);
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  }

  // A vision transformer with random weights, two blocks deep.
  std::string tiny_weights(const std::string& name, std::uint64_t seed) const {
    VitConfig config;
    config.width = 64;
    config.depth = 2;
    config.grid = 4;
    config.mlp_hidden = 64;
    ParamStore store(seed);
    const Vit vit(Scope(store), config);
    io::save_safetensors(folder_ / name, store.state_dict());
    return at(name);
  }

  test::TempDir folder_;
};

TEST_F(MaskcutTest, PicturesToMasksAndOverlays) {
  const auto result =
      usol("maskcut", {pictures(), "--backbone", "colour", "--out", at("new/a.json"), "--overlays", at("look")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "") << "results go to files, messages to stderr";
  const io::AnnotationSet set = io::read_coco(folder_ / "new/a.json");
  ASSERT_EQ(set.images.size(), 7u);
  EXPECT_EQ(set.images[0].file_name, "astronaut.jpg");
  EXPECT_EQ(set.images[6].file_name, "rocket.jpg");
  EXPECT_GE(set.annotations.size(), 4u);
  for (std::size_t i = 0; i < set.images.size(); ++i) {
    const io::CocoImage& image = set.images[i];
    EXPECT_EQ(image.id, static_cast<std::int64_t>(i) + 1);
    const Size size = io::image_size(fs::path(pictures()) / image.file_name);
    EXPECT_EQ(image.height, size.height);
    EXPECT_EQ(image.width, size.width);
    const auto overlay = folder_ / "look" / fs::path(image.file_name).replace_extension(".jpg");
    EXPECT_GT(io::decode_image(overlay).size(1), 96) << overlay;
  }
  const io::IdIndex index = io::index_images(set);
  for (const auto& annotation : set.annotations) {
    const io::CocoImage& image = set.images[static_cast<std::size_t>(index.find(annotation.image_id))];
    const io::Rle mask = set.rle(annotation, image.height, image.width);
    EXPECT_EQ(static_cast<double>(io::rle_area(mask)), annotation.area);
    EXPECT_GT(annotation.area, 0);
    EXPECT_EQ(io::rle_to_box(mask), annotation.box);
    EXPECT_GE(annotation.score, 0);
    EXPECT_LE(annotation.score, 1);
  }
  const Json info = Json::parse(set.info_json);
  EXPECT_EQ(info["preset"], "paper");
  EXPECT_EQ(info["settings"]["size"], 96);
  EXPECT_EQ(info["settings"]["backbone"], "colour");
  EXPECT_EQ(info["weights_sha256"], nullptr);
  EXPECT_NE(info["features"].get<std::string>().find("not learned"), std::string::npos);
  EXPECT_EQ(set.info_json.find(folder_.path().string()), std::string::npos) << "no paths in the provenance";
}

TEST_F(MaskcutTest, BadUsageOfEveryKindIsStatusTwoBeforeAnyWork) {
  const std::string out = at("a.json"), cat = pictures() + "/chelsea.jpg";
  expect_usage_error({"maskcut", cat, "--out", out}, "backbone contrast");
  expect_usage_error({"maskcut", cat, "--out", out}, "give weights");
  expect_usage_error({"maskcut", cat, "--out", out, "--backbone", "dino"}, "no features");
  expect_usage_error({"maskcut", cat, "--backbone", "colour"}, "--out FILE is missing");
  expect_usage_error({"maskcut", "--backbone", "colour", "--out", out}, "no input");
  expect_usage_error({"maskcut", at("gone.jpg"), "--backbone", "colour", "--out", out}, "gone.jpg: no such file");
  expect_usage_error({"maskcut", cat, "--weights", at("gone.pth"), "--out", out}, "gone.pth: no such file");
  expect_usage_error({"maskcut", cat, "--from-features", at("gone"), "--out", out}, "gone: no such folder");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--weights", "w", "--out", out}, "leave out");
  expect_usage_error({"maskcut", cat, "--backbone", "contrast", "--weights", "w", "--out", out}, "leave out");
  expect_usage_error({"maskcut", cat, "--backbone", "color", "--out", out}, "expected one of dino, contrast, colour");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--preset", "x"}, "paper, release");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--size", "0"}, "at least 8");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--masks", "0"}, "at least 1");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--tau", "lots"}, "expected a number");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--shard", "3/2"}, "shard: expected");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--device", "tpu"}, "cpu, cuda");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out, "--tua", "1"}, "--tua");
  fs::create_directory(folder_ / "two");
  for (const char* name : {"x.jpg", "x.png"}) fs::copy_file(cat, folder_ / "two" / name);
  expect_usage_error({"maskcut", at("two"), "--backbone", "colour", "--out", out, "--overlays", at("look")},
                     "same output");
  expect_usage_error({"features", at("two"), "--backbone", "colour", "--out", at("f")}, "same output");
  expect_usage_error({"run", cat, "--backbone", "colour"}, "--out DIR is missing");
  EXPECT_FALSE(fs::exists(out) || fs::exists(out + ".journal") || fs::exists(folder_ / "look"));
  test::write_text(out, "precious");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--out", out}, "exists and was not written by usol");
  EXPECT_EQ(text("a.json"), "precious");
}

TEST_F(MaskcutTest, WeightsAreAFileAFolderOrNamesBehindAPrefix) {
  const std::string weights = tiny_weights("w.safetensors", 1), cat = pictures() + "/chelsea.jpg";
  fs::create_directory(folder_ / "hub");
  fs::copy_file(weights, folder_ / "hub/model.safetensors");
  StateDict wrapped{{"raw.x", Tensor::zeros({1})}};
  for (const auto& [name, tensor] : io::load_safetensors(weights)) wrapped["ema." + name] = tensor;
  io::save_safetensors(folder_ / "wrapped.safetensors", wrapped);
  const auto masks = [&](const Words& source) {
    Words words = {cat, "--no-crf", "--force", "--out", at("a.json")};
    words.insert(words.end(), source.begin(), source.end());
    const auto result = usol("maskcut", words);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(text("a.json"))["annotations"].dump();
  };
  const std::string expected = masks({"--weights", weights});
  EXPECT_EQ(masks({"--weights", at("hub")}), expected);
  EXPECT_EQ(masks({"--weights", at("wrapped.safetensors"), "--entry", "ema."}), expected);
  expect_usage_error({"maskcut", cat, "--weights", at("wrapped.safetensors"), "--entry", "x.", "--out", at("b.json")},
                     "no name of a tensor begins with 'x.'; they begin with 'ema.', 'raw.'");
  expect_usage_error({"maskcut", cat, "--backbone", "colour", "--entry", "x.", "--out", at("b.json")},
                     "entry x.: is for weights");
}

TEST_F(MaskcutTest, WhatTheDeviceCannotDoIsAnErrorWithTheRemedy) {
  const std::string weights = tiny_weights("w.safetensors", 1), cat = pictures() + "/chelsea.jpg";
  const auto f16 = usol("maskcut", {cat, "--weights", weights, "--out", at("a.json"), "--precision", "f16"});
  EXPECT_EQ(f16.status, kFailure);
  EXPECT_NE(f16.err.find("f32 or bf16"), std::string::npos) << f16.err;
  const auto bf16 = usol("maskcut", {cat, "--weights", weights, "--out", at("b.json"), "--precision", "bf16"});
  if (bf16.status == 0) {
    EXPECT_NE(text("b.json").find("\"precision\":\"bf16\""), std::string::npos);
  } else {
    EXPECT_EQ(bf16.status, kFailure);
    EXPECT_NE(bf16.err.find("use --precision f32"), std::string::npos) << bf16.err;
    EXPECT_FALSE(fs::exists(folder_ / "b.json"));
  }
  const auto cuda = usol("maskcut", {cat, "--weights", weights, "--out", at("a.json"), "--device", "cuda:99"});
  EXPECT_EQ(cuda.status, kFailure);
  EXPECT_NE(cuda.err.find("--device cpu"), std::string::npos) << cuda.err;
}

TEST_F(MaskcutTest, BrokenAndVanishedPicturesAreStatusThreeAndListed) {
  fs::create_directory(folder_ / "in");
  for (const char* name : {"chelsea.jpg", "clock.jpg"})
    fs::copy_file(fs::path(pictures()) / name, folder_ / "in" / name);
  const std::string whole = test::read_text(fs::path(pictures()) / "coffee.jpg");
  test::write_text(folder_ / "in/cut.jpg", whole.substr(0, 700));
  test::write_text(folder_ / "in/text.png", "this is no picture");
  test::write_text(folder_ / "in/list.txt", "chelsea.jpg\ngone.jpg\ncut.jpg\ntext.png\nclock.jpg\n");
  const auto result = colour({at("in/list.txt"), "--out", at("a.json")});
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_NE(result.err.find("3 of 5 images failed"), std::string::npos) << result.err;
  for (const char* name : {"gone.jpg", "cut.jpg", "text.png"}) {
    EXPECT_NE(result.err.find(name), std::string::npos) << result.err;
    EXPECT_NE(text("a.json.journal").find(name), std::string::npos);
  }
  const auto json = Json::parse(text("a.json"));
  EXPECT_EQ(json["images"].size(), 2u);
  EXPECT_EQ(json["info"]["failed"].size(), 3u);
}

TEST_F(MaskcutTest, KilledAtAnyMomentAndResumedItGivesTheSameBytes) {
  ASSERT_EQ(colour({pictures(), "--out", at("whole.json")}).status, 0);
  for (const int signal : {SIGKILL, SIGTERM}) {
    const std::string out = at(signal == SIGKILL ? "kill.json" : "term.json");
    // A signal that comes before the handlers are there ends the process just the same.
    const auto run = test::run_stopped(
        [&](const ProcessOptions& options) {
          return colour({pictures(), "--out", out, "--resume"}, options);
        },
        signal, 0.005, 1.25, [&] { fs::remove(out); });
    EXPECT_EQ(run.last.status, 0) << run.last.err;
    EXPECT_GT(run.stops, 0);
    EXPECT_EQ(test::read_text(out), text("whole.json"));
    EXPECT_FALSE(fs::exists(out + ".journal"));
  }
}

// The files of several pictures are on their way to the disk at a time.
TEST_F(MaskcutTest, FeaturesKilledAtAnyMomentAndResumedAreTheSameFiles) {
  const auto features = [&](const std::string& out, const ProcessOptions& options = {}) {
    return test::run_usol(
        {"features", pictures(), "--backbone", "colour", "--size", "96", "--threads", "2", "--out", out, "--resume"},
        options);
  };
  const auto files_of = [&](const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().filename() != ".usol-files")
        files[entry.path().filename().string()] = io::sha256_file(entry.path().string());
    return files;
  };
  ASSERT_EQ(features(at("whole")).status, 0);
  const auto whole = files_of(at("whole"));
  EXPECT_EQ(whole.size(), 8u);
  Generator random(3);
  for (int round = 0; round < 3; ++round) {
    const std::string out = at("kill" + std::to_string(round));
    const auto run = test::run_stopped([&](const ProcessOptions& options) { return features(out, options); }, SIGKILL,
                                       0.01, 1.15, [&] { fs::remove_all(out); }, &random);
    EXPECT_EQ(run.last.status, 0) << run.last.err << run.moments;
    EXPECT_GT(run.stops, 0);
    EXPECT_EQ(files_of(out), whole) << run.moments;
  }
}

// RLIMIT_FSIZE stands for the disk: writes beyond it fail as on a full one, without root and everywhere.
TEST_F(MaskcutTest, AFullDiskIsAClearErrorAndResumeFinishes) {
  ASSERT_EQ(colour({pictures(), "--out", at("whole.json")}).status, 0);
  const auto whole = static_cast<std::int64_t>(text("whole.json").size());
  for (const std::int64_t bytes : {std::int64_t{100}, whole / 2}) {  // at the first line, and between two pictures
    ProcessOptions small_disk;
    small_disk.file_size_limit = bytes;
    const auto full = colour({pictures(), "--out", at("a.json")}, small_disk);
    EXPECT_EQ(full.status, kFailure) << bytes;
    EXPECT_NE(full.err.find("a.json.journal: cannot be written"), std::string::npos) << full.err;
    EXPECT_FALSE(fs::exists(folder_ / "a.json"));
    const auto resumed = colour({pictures(), "--out", at("a.json"), "--resume"});
    EXPECT_EQ(resumed.status, 0) << resumed.err;
    if (bytes > 1000) EXPECT_NE(resumed.err.find("were done before"), std::string::npos) << resumed.err;
    EXPECT_EQ(text("a.json"), text("whole.json")) << bytes;
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 2) << "a file was left behind";
    fs::remove(folder_ / "a.json");
  }
}

TEST_F(MaskcutTest, TauIsACosine) {
  for (const char* tau : {"5", "-1.5"})
    expect_usage_error({"maskcut", pictures(), "--backbone", "colour", "--out", at("a.json"), "--tau", tau}, "--tau");
}

TEST_F(MaskcutTest, NoFolderIsTheStandardOutput) {
  for (const char* key : {"--overlays", "--dump"})
    expect_usage_error({"maskcut", pictures(), "--backbone", "colour", "--out", at("a.json"), key, "-"},
                       "which takes one file, no folder");
  EXPECT_FALSE(fs::exists("-"));
}

TEST_F(MaskcutTest, ShardsMergeToTheBytesOfOneRun) {
  ASSERT_EQ(colour({pictures(), "--out", at("whole.json")}).status, 0);
  Words merge = {"merge", "--out", at("merged.json")};
  for (const char* shard : {"1/3", "2/3", "3/3"}) {
    merge.push_back(at(std::string("part") + shard[0] + ".json"));
    ASSERT_EQ(colour({pictures(), "--out", merge.back(), "--shard", shard}).status, 0);
  }
  const auto merged = test::run_usol(merge);
  EXPECT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(text("merged.json"), text("whole.json"));
}

TEST_F(MaskcutTest, ResumeRefusesOtherSettingsAndWeights) {
  const Words common = {pictures() + "/clock.jpg", pictures() + "/camera.jpg", "--no-crf", "--out", at("a.json")};
  const auto with = [&](Words more) {
    more.insert(more.begin(), common.begin(), common.end());
    return usol("maskcut", more);
  };
  const std::string first = tiny_weights("1.safetensors", 1), second = tiny_weights("2.safetensors", 2);
  ASSERT_EQ(with({"--weights", first}).status, 0);
  EXPECT_EQ(Json::parse(text("a.json"))["info"]["weights_sha256"], io::sha256_file(first));
  EXPECT_EQ(with({"--weights", first, "--resume"}).status, 0);
  const auto tau = with({"--weights", first, "--resume", "--tau", "0.3"});
  EXPECT_EQ(tau.status, kBadUsage);
  EXPECT_NE(tau.err.find("settings.tau: was 0.15, is 0.3"), std::string::npos) << tau.err;
  const auto weights = with({"--weights", second, "--resume"});
  EXPECT_EQ(weights.status, kBadUsage);
  EXPECT_NE(weights.err.find("weights_sha256"), std::string::npos) << weights.err;
}

TEST_F(MaskcutTest, FeaturesFromFilesGiveTheMasksOfTheSameFeatures) {
  const std::string weights = tiny_weights("w.safetensors", 3);
  const auto features = usol("features", {pictures(), "--weights", weights, "--out", at("f")});
  ASSERT_EQ(features.status, 0) << features.err;
  const auto tensors = io::load_safetensors(folder_ / "f/chelsea.safetensors");
  ASSERT_TRUE(tensors.contains("features"));
  EXPECT_EQ(tensors.at("features").shape(), (Shape{64, 6, 6}));
  EXPECT_EQ(io::read_coco(folder_ / "f/features.json").images.size(), 7u);
  ASSERT_EQ(usol("maskcut", {pictures(), "--weights", weights, "--no-crf", "--out", at("direct.json")}).status, 0);
  ASSERT_EQ(usol("maskcut", {pictures(), "--from-features", at("f"), "--no-crf", "--out", at("files.json")}).status, 0);
  const auto direct = Json::parse(text("direct.json")), files = Json::parse(text("files.json"));
  EXPECT_EQ(direct["annotations"], files["annotations"]);
  EXPECT_GT(direct["annotations"].size(), 0u);
  EXPECT_EQ(files["info"]["features_info"]["weights_sha256"], io::sha256_file(weights));
  // .npy as well, and what is missing is that picture's failure.
  fs::create_directory(folder_ / "n");
  io::save_npy(folder_ / "n/chelsea.npy", tensors.at("features"));
  const auto npy = usol("maskcut", {pictures(), "--from-features", at("n"), "--no-crf", "--out", at("npy.json")});
  EXPECT_EQ(npy.status, kSomeInputsFailed) << npy.err;
  EXPECT_NE(npy.err.find("no features for astronaut.jpg"), std::string::npos) << npy.err;
  EXPECT_EQ(Json::parse(text("npy.json"))["images"].size(), 1u);
  const auto half =
      usol("features", {pictures() + "/chelsea.jpg", "--weights", weights, "--out", at("h"), "--feature-dtype", "f16"});
  ASSERT_EQ(half.status, 0) << half.err;
  EXPECT_EQ(io::load_safetensors(folder_ / "h/chelsea.safetensors").at("features").dtype(), DType::kF16);
}

TEST_F(MaskcutTest, DumpHoldsEveryStage) {
  const auto result = colour({pictures() + "/coffee.jpg", "--out", at("a.json"), "--dump", at("dump")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(io::load_npy(folder_ / "dump/coffee/K.npy").size(0), 144);
  for (const char* name : {"W_1", "d_1", "lambda_1", "x_1", "P_1", "M_1"}) {
    EXPECT_TRUE(fs::exists(folder_ / "dump/coffee" / (std::string(name) + ".npy"))) << name;
  }
}

TEST_F(MaskcutTest, PrintedConfigMakesTheSameRunAndSourcesHaveTheirOrder) {
  const Words flags = {pictures(), "--tau", "0.3", "--masks", "2", "--out", at("a.json")};
  Words print = flags;
  print.push_back("--print-config");
  const auto printed = colour(print);
  ASSERT_EQ(printed.status, 0) << printed.err;
  test::write_text(folder_ / "c.toml", printed.out);
  const auto again = test::run_usol({"maskcut", "--config", at("c.toml"), "--print-config"});
  EXPECT_EQ(again.out, printed.out);
  ASSERT_EQ(colour(flags).status, 0);
  ASSERT_EQ(test::run_usol({"maskcut", "--config", at("c.toml"), "--out", at("b.json")}).status, 0);
  EXPECT_EQ(text("a.json"), text("b.json"));
  const auto mixed = test::run_usol({"maskcut", "--config", at("c.toml"), "--masks", "4", "--print-config"},
                                    {.environment = {{"USOL_TAU", "0.4"}, {"USOL_MASKS", "5"}}});
  EXPECT_NE(mixed.out.find("tau = 0.4\n"), std::string::npos) << mixed.out;
  EXPECT_NE(mixed.out.find("masks = 4\n"), std::string::npos) << mixed.out;
  EXPECT_NE(mixed.out.find("size = 96\n"), std::string::npos) << mixed.out;
  EXPECT_EQ(colour({"--print-config"}).out.find("tau"), std::string::npos) << "it is the features' own then";
  // The release ignores EXIF orientation, unless told otherwise.
  EXPECT_NE(colour({"--preset", "release", "--print-config"}).out.find("exif = false\n"), std::string::npos);
  EXPECT_NE(colour({"--preset", "release", "--exif", "--print-config"}).out.find("exif = true\n"), std::string::npos);
}

TEST_F(MaskcutTest, ADryRunEstimatesAndWritesNothing) {
  const auto result = colour({pictures(), "--out", at("out/a.json"), "--overlays", at("out/look"), "--dry-run"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* part : {"7 images", "time: about", "disk: about"}) {
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(MaskcutTest, ReleaseSwapsWidthAndHeightAndReadersPutThemRight) {
  ASSERT_EQ(colour({pictures() + "/chelsea.jpg", "--preset", "release", "--out", at("a.json")}).status, 0);
  const auto json = Json::parse(text("a.json"));
  EXPECT_EQ(json["images"][0]["width"], 300);
  EXPECT_EQ(json["images"][0]["height"], 451);
  ASSERT_GT(json["annotations"].size(), 0u);
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  EXPECT_EQ(set.images[0].width, 451);
}

// Without any word on features, `usol run` does the best that needs no weights, and says so.
TEST_F(MaskcutTest, RunTakesContrastWhereNothingIsChosen) {
  const auto result = usol("run", {pictures() + "/raccoon.jpg", "--no-crf", "--out", at("r")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("no --weights"), std::string::npos) << result.err;
  const Json info = Json::parse(io::read_coco(folder_ / "r/masks.json").info_json);
  EXPECT_EQ(info["settings"]["backbone"], "contrast");
  EXPECT_EQ(info["features"].get<std::string>().find("classical, not learned: contrast"), 0u) << info["features"];
  const auto named =
      usol("maskcut", {pictures() + "/raccoon.jpg", "--backbone", "contrast", "--no-crf", "--out", at("a.json")});
  ASSERT_EQ(named.status, 0) << named.err;
  EXPECT_EQ(Json::parse(text("a.json"))["annotations"], Json::parse(text("r/masks.json"))["annotations"]);
}

TEST_F(MaskcutTest, RunLeavesAPageToLookThrough) {
  const auto result = usol("run", {pictures(), "--backbone", "colour", "--no-crf", "--out", at("r")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(io::read_coco(folder_ / "r/masks.json").images.size(), 7u);
  for (const char* name : {"astronaut", "rocket"}) {
    EXPECT_TRUE(fs::exists(folder_ / "r/overlays" / (std::string(name) + ".jpg")));
    EXPECT_TRUE(fs::exists(folder_ / "r/stages" / name / "x_1.npy"));
    EXPECT_FALSE(fs::exists(folder_ / "r/stages" / name / "W_1.npy")) << "hundreds of megabytes that nothing shows";
  }
  const std::string page = text("r/index.html");
  EXPECT_NE(page.find("astronaut.jpg"), std::string::npos);
  EXPECT_NE(page.find("id=\"p6\""), std::string::npos);
  EXPECT_NE(page.find("eigenvectors</label>"), std::string::npos);
  const Json times = Json::parse(text("r/times.json"));
  EXPECT_EQ(times["images"], 7);
  EXPECT_GT(times["seconds"]["cuts"], 0.0);
  EXPECT_NE(page.find("id=\"time\""), std::string::npos);
}

}  // namespace
}  // namespace usol::cli
