// `usol discover` as a user types it, on the bundled pictures, small and quick.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
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
#include "usol/io/resize.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/models/vit.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using test::ProcessOptions;
using test::ProcessResult;
using testing::HasSubstr;

constexpr std::int64_t kPatch = 16;

class DiscoverTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "in");
    // Sides that are no multiples of the patch.
    small_copy("chelsea.jpg", 75, 115);
    small_copy("rocket.jpg", 100, 90);
    weights_ = tiny_weights("w.safetensors");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return test::read_text(folder_ / name); }

  void small_copy(const std::string& name, std::int64_t height, std::int64_t width) const {
    const Tensor image = io::decode_image(test::source_path("tests/pictures/" + name));
    io::write_png(folder_ / "in" / fs::path(name).replace_extension(".png"),
                  resize(image, height, width, io::Filter::kLanczos));
  }
  // A vision transformer with random weights: two blocks, five heads of which --head can take number 4.
  std::string tiny_weights(const std::string& name, std::int64_t width = 320) const {
    VitConfig config;
    config.width = width;
    config.depth = 2;
    config.patch = kPatch;
    config.grid = 4;
    config.mlp_hidden = 64;
    ParamStore store(8);
    const Vit vit(Scope(store), config);
    io::save_safetensors(folder_ / name, store.state_dict());
    return at(name);
  }
  ProcessResult discover(const std::string& method, const Words& words, const ProcessOptions& options = {}) const {
    Words all = {"discover", at("in"), "--method", method, "--threads", threads_};
    all.insert(all.end(), words.begin(), words.end());
    return test::run_usol(all, options);
  }
  ProcessResult with_weights(const std::string& method, Words words) const {
    words.insert(words.end(), {"--weights", weights_});
    return discover(method, words);
  }
  void expect_usage_error(const std::string& method, const Words& words, const std::string& part) const {
    const auto result = discover(method, words);
    EXPECT_EQ(result.status, kBadUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
  }
  std::string found_head() const {
    io::save_safetensors(folder_ / "head.safetensors",
                         {{"weight", Tensor::full({1, 320, 1, 1}, 0.01)}, {"bias", Tensor::full({1}, 0.2)}});
    return at("head.safetensors");
  }

  test::TempDir folder_;
  std::string weights_, threads_ = "1";
};

// Nothing of it is any picture's fault.
TEST_F(DiscoverTest, SettingsThatDoNotFitTheNetworkEndTheRun) {
  expect_usage_error("dino-seg", {"--weights", weights_, "--head", "5", "--out", at("a.json")},
                     "dino-seg: expected a head below 5, got 5");
  expect_usage_error(
      "found",
      {"--weights", tiny_weights("n.safetensors", 192), "--found-weights", found_head(), "--out", at("b.json")},
      "found: the head is for 320 channels, the keys have 192");
  expect_usage_error("lost", {"--weights", weights_, "--size", "4112", "--out", at("c.json")},
                     "a picture of 4112 x 4112 pixels has 66049 patches of 16, more than 65536");
}

TEST_F(DiscoverTest, EveryMethodWritesCocoRecords) {
  for (const std::string method :
       {"tokencut", "tokencut-3ev", "lost", "found", "dino-seg", "bisecting-kmeans", "maskcut"}) {
    Words words = {"--out", at(method + ".json"), "--overlays", at("look-" + method)};
    if (method == "found") words.insert(words.end(), {"--found-weights", found_head()});
    if (method == "maskcut") words.insert(words.end(), {"--size", "96"});
    const auto result = with_weights(method, words);
    ASSERT_EQ(result.status, kSuccess) << method << ": " << result.err;
    EXPECT_EQ(result.out, "");
    const io::AnnotationSet set = io::read_coco(folder_ / (method + ".json"));
    ASSERT_EQ(set.images.size(), 2u) << method;
    EXPECT_EQ(set.images[0].file_name, "chelsea.png");
    EXPECT_EQ(set.images[0].height, 75);
    EXPECT_EQ(set.images[0].width, 115);
    std::map<std::int64_t, int> objects;
    for (const auto& annotation : set.annotations) {
      ++objects[annotation.image_id];
      const io::CocoImage& image = set.images[static_cast<std::size_t>(annotation.image_id) - 1];
      const io::Rle mask = set.rle(annotation, image.height, image.width);
      EXPECT_EQ(io::rle_to_box(mask), annotation.box) << method;
      EXPECT_EQ(static_cast<double>(io::rle_area(mask)), annotation.area);
      EXPECT_TRUE(annotation.has_score);
      EXPECT_EQ(annotation.category_id, 1);
    }
    for (const std::int64_t id : {1, 2}) {
      EXPECT_GE(objects[id], method == "maskcut" ? 0 : 1) << method;
      EXPECT_LE(objects[id], method == "tokencut-3ev" || method == "bisecting-kmeans" || method == "maskcut" ? 3 : 1);
    }
    const Json info = Json::parse(set.info_json);
    EXPECT_EQ(info["settings"]["method"], method);
    EXPECT_EQ(info["weights_sha256"], io::sha256_file(weights_));
    EXPECT_EQ(info.contains("found_weights_sha256"), method == "found");
    EXPECT_TRUE(fs::exists(folder_ / ("look-" + method) / "rocket.jpg"));
  }
}

TEST_F(DiscoverTest, MaskcutGivesTheMasksOfUsolMaskcut) {
  for (const std::string preset : {"paper", "release"}) {
    const Words common = {"--weights", weights_, "--size", "96", "--preset", preset, "--force"};
    Words words = common;
    words.insert(words.end(), {"--out", at("a.json")});
    ASSERT_EQ(discover("maskcut", words).status, kSuccess);
    words = common;
    words.insert(words.begin(), {"maskcut", at("in")});
    words.insert(words.end(), {"--out", at("b.json"), "--threads", "1"});
    ASSERT_EQ(test::run_usol(words).status, kSuccess);
    const auto a = Json::parse(text("a.json")), b = Json::parse(text("b.json"));
    EXPECT_GT(a["annotations"].size(), 0u);
    EXPECT_EQ(a["annotations"], b["annotations"]);
    EXPECT_EQ(a["images"], b["images"]);
  }
}

TEST_F(DiscoverTest, FeaturesFromFilesAtThePicturesOwnSize) {
  ASSERT_EQ(
      test::run_usol({"features", at("in"), "--weights", weights_, "--padded", "--attention", "--out", at("f")}).status,
      kSuccess);
  const auto tensors = io::load_safetensors(folder_ / "f/chelsea.safetensors");
  EXPECT_EQ(tensors.at("features").shape(), (Shape{320, 5, 8}));
  EXPECT_EQ(tensors.at("attention").shape(), (Shape{5, 5, 8}));
  for (const std::string method : {"tokencut", "lost", "dino-seg"}) {
    ASSERT_EQ(with_weights(method, {"--out", at("a.json"), "--force"}).status, kSuccess);
    const auto files = discover(
        method, {"--from-features", at("f"), "--patch", "16", "--out", at("b.json"), "--force", "--seed", "5"});
    ASSERT_EQ(files.status, kSuccess) << files.err;
    EXPECT_EQ(Json::parse(text("a.json"))["annotations"], Json::parse(text("b.json"))["annotations"]) << method;
  }
  // Files of usol say their patch, and those of others are taken by their word.
  expect_usage_error("lost", {"--from-features", at("f"), "--patch", "32", "--out", at("c.json")},
                     "were made with patches of 16 pixels");
  fs::rename(folder_ / "f/features.json", folder_ / "list.json");
  const auto unknown = discover("lost", {"--from-features", at("f"), "--patch", "8", "--out", at("c.json")});
  EXPECT_EQ(unknown.status, kSomeInputsFailed);
  EXPECT_THAT(unknown.err, HasSubstr("do not cover a picture of 75 x 115"));
  // dino-seg needs attention.
  fs::create_directory(folder_ / "n");
  for (const char* name : {"chelsea", "rocket"})
    io::save_safetensors(folder_ / "n" / (std::string(name) + ".safetensors"), {{"features", tensors.at("features")}});
  const auto none = discover("dino-seg", {"--from-features", at("n"), "--patch", "16", "--out", at("d.json")});
  EXPECT_EQ(none.status, kSomeInputsFailed);
  EXPECT_THAT(none.err, HasSubstr("holds no tensor 'attention' (usol features writes it on request)"));
}

TEST_F(DiscoverTest, ASquareFrameForAllMethods) {
  ASSERT_EQ(with_weights("tokencut", {"--size", "64", "--out", at("a.json")}).status, kSuccess);
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(set.annotations.size(), 2u);
  for (const auto& annotation : set.annotations) {
    const io::CocoImage& image = set.images[static_cast<std::size_t>(annotation.image_id) - 1];
    EXPECT_EQ(io::rle_to_box(set.rle(annotation, image.height, image.width)), annotation.box);
  }
}

TEST_F(DiscoverTest, SaliencyMapsAreScoredByEval) {
  for (const std::string method : {"tokencut", "found"}) {
    for (const std::string bilateral : {"auto", "on", "off"}) {
      Words words = {"--task", "saliency", "--bilateral", bilateral,  "--out",  at("s.json"),
                     "--maps", at("maps"), "--overlays",  at("look"), "--force"};
      if (method == "found") words.insert(words.end(), {"--found-weights", found_head()});
      const auto result = with_weights(method, words);
      ASSERT_EQ(result.status, kSuccess) << result.err;
      const Tensor map = io::load_npy(folder_ / "maps/rocket.npy");
      EXPECT_EQ(map.shape(), (Shape{100, 90}));
      const auto values = map.to_vector<float>();
      const auto [least, most] = std::minmax_element(values.begin(), values.end());
      EXPECT_GT(*least, -0.5);
      EXPECT_LT(*most, 1.5);
      const bool soft = method == "tokencut" ? bilateral != "off" : bilateral != "on";
      EXPECT_EQ(std::any_of(values.begin(), values.end(), [](float v) { return v != 0 && v != 1; }), soft)
          << method << ' ' << bilateral;
    }
  }
  ASSERT_EQ(test::run_usol({"gt", at("s.json"), "--to", "png", "--out", at("truth")}).status, kSuccess);
  const auto eval =
      test::run_usol({"eval", "--saliency", "--gt", at("truth"), "--pred", at("maps"), "--out", at("m.json")});
  ASSERT_EQ(eval.status, kSuccess) << eval.err;
  EXPECT_EQ(Json::parse(text("m.json"))["saliency"]["images"], 2);
}

TEST_F(DiscoverTest, TheBackgroundOfFoundNeedsNoLayer) {
  const Words stage = {"--found-stage", "background", "--out", at("a.json"), "--force"};
  ASSERT_EQ(with_weights("found", stage).status, kSuccess);
  EXPECT_FALSE(Json::parse(text("a.json"))["info"].contains("found_weights_sha256"));
  Words saliency = stage;
  saliency.insert(saliency.end(), {"--task", "saliency", "--maps", at("m")});
  ASSERT_EQ(with_weights("found", saliency).status, kSuccess);
  EXPECT_EQ(io::load_npy(folder_ / "m/chelsea.npy").shape(), (Shape{75, 115}));
  Words both = stage;
  both.insert(both.end(), {"--found-weights", found_head()});
  expect_usage_error("found", both, "--found-weights means nothing to found-stage background");
}

TEST_F(DiscoverTest, APictureTooLargeForItsPatchesIsThatPicturesFailure) {
  io::write_png(folder_ / "in/large.png", Tensor::zeros({2100, 2100}, DType::kU8));
  const auto result = discover("lost", {"--backbone", "colour", "--out", at("a.json")});
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_THAT(result.err,
              HasSubstr("large.png: a picture of 2100 x 2100 pixels has 69169 patches of 8, more than 65536"));
  EXPECT_THAT(result.err, HasSubstr("make pictures smaller (a size for all"));
}

TEST_F(DiscoverTest, ShardsMergeAndResumeGivesTheSameBytes) {
  const Words common = {"--backbone", "colour", "--patch", "16"};
  const auto lost = [&](Words words) {
    words.insert(words.end(), common.begin(), common.end());
    return discover("bisecting-kmeans", words).status;
  };
  ASSERT_EQ(lost({"--out", at("whole.json")}), kSuccess);
  ASSERT_EQ(lost({"--out", at("1.json"), "--shard", "1/2"}), kSuccess);
  ASSERT_EQ(lost({"--out", at("2.json"), "--shard", "2/2"}), kSuccess);
  ASSERT_EQ(test::run_usol({"merge", at("1.json"), at("2.json"), "--out", at("merged.json")}).status, kSuccess);
  EXPECT_EQ(text("merged.json"), text("whole.json"));
  EXPECT_EQ(lost({"--out", at("whole.json"), "--resume"}), kSuccess);
  EXPECT_EQ(lost({"--out", at("whole.json"), "--resume", "--clusters", "2"}), kBadUsage);
  EXPECT_EQ(lost({"--out", at("whole.json"), "--resume", "--seed", "2"}), kBadUsage);
}

// Nor does a limit on them, below which oneDNN's shares of the work would be done by nobody.
TEST_F(DiscoverTest, ThreadsChangeNothing) {
  const std::string runs[] = {"1", "3", "3 limited"};
  for (const std::string& name : runs) {
    threads_ = name.substr(0, 1);
    if (name.ends_with("limited")) setenv("OMP_THREAD_LIMIT", "2", 1);
    for (const std::string method : {"tokencut-3ev", "lost"})
      EXPECT_EQ(with_weights(method, {"--out", at(method + name)}).status, kSuccess);
    EXPECT_EQ(
        with_weights("found", {"--iterations", "2", "--batch", "3", "--train-head", at(name + ".safetensors")}).status,
        kSuccess);
    unsetenv("OMP_THREAD_LIMIT");
  }
  for (const std::string& name : runs) {
    for (const std::string method : {"tokencut-3ev", "lost"}) EXPECT_EQ(text(method + "1"), text(method + name));
    EXPECT_EQ(text("1.safetensors"), text(name + ".safetensors"));
  }
}

TEST_F(DiscoverTest, SettingsFileMakesTheSameRun) {
  const Words flags = {"--backbone", "colour", "--patch", "16", "--tau", "0.3"};
  Words print = flags;
  print.push_back("--print-config");
  test::write_text(folder_ / "c.toml", discover("tokencut", print).out);
  Words out = flags;
  out.insert(out.end(), {"--out", at("a.json")});
  ASSERT_EQ(discover("tokencut", out).status, kSuccess);
  const auto again = test::run_usol({"discover", "--config", at("c.toml"), "--out", at("b.json")});
  ASSERT_EQ(again.status, kSuccess) << again.err;
  EXPECT_EQ(text("a.json"), text("b.json"));
}

TEST_F(DiscoverTest, TrainsTheLayerOfFoundAndUsesIt) {
  weights_ = tiny_weights("small.safetensors", 64);
  const auto train = [&](const std::string& head, Words words, const ProcessOptions& options = {}) {
    words.insert(words.end(), {"--weights", weights_, "--train-head", at(head), "--batch", "2"});
    return discover("found", words, options);
  };
  const auto whole = train("new/a.safetensors", {"--iterations", "8"});
  ASSERT_EQ(whole.status, kSuccess) << whole.err;
  EXPECT_FALSE(fs::exists(folder_ / "new/a.safetensors.state"));
  EXPECT_EQ(train("new/a.safetensors", {"--iterations", "8"}).status, kBadUsage) << "exists";
  const auto tensors = io::load_safetensors(folder_ / "new/a.safetensors");
  EXPECT_EQ(tensors.at("weight").shape(), (Shape{1, 64, 1, 1}));

  // Stopped by signals again and again, then resumed: the same bytes.
  const auto stopped = test::run_stopped(
      [&](const ProcessOptions& options) {
        return train("b.safetensors", {"--iterations", "8", "--resume"}, options);
      },
      SIGTERM, 0.005, 1.4, [&] { fs::remove(folder_ / "b.safetensors"); });
  EXPECT_EQ(stopped.last.status, kSuccess) << stopped.last.err;
  EXPECT_GT(stopped.stops, 0);
  EXPECT_EQ(text("b.safetensors"), text("new/a.safetensors"));

  ASSERT_EQ(train("c.pth", {"--iterations", "1", "--seed", "9"}).status, kSuccess);
  for (const char* head : {"new/a.safetensors", "c.pth"}) {
    const auto result = with_weights("found", {"--found-weights", at(head), "--out", at("f.json"), "--force"});
    EXPECT_EQ(result.status, kSuccess) << result.err;
  }
  const auto dry = train("d.pth", {"--dry-run"});
  EXPECT_EQ(dry.status, kSuccess);
  EXPECT_THAT(dry.err, HasSubstr("would train on 2 pictures, 500 steps of 2"));
  EXPECT_FALSE(fs::exists(folder_ / "d.pth"));

  test::write_text(folder_ / "in/bad.png", "this is no picture");
  const auto bad = train("e.pth", {"--iterations", "2"});
  EXPECT_EQ(bad.status, kFailure);
  EXPECT_THAT(bad.err, HasSubstr("bad.png"));
  EXPECT_THAT(bad.err, HasSubstr("most-skipped"));
}

TEST_F(DiscoverTest, TrainsTheLayerOfFoundWithoutPicturesThatCannotBeRead) {
  // One shows it in its header, the other one not before it is decoded.
  test::write_text(folder_ / "in/bad.png", "this is no picture");
  io::write_png(folder_ / "in/cut.png", Tensor::full({64, 64, 3}, 40, DType::kU8));
  fs::resize_file(folder_ / "in/cut.png", fs::file_size(folder_ / "in/cut.png") - 30);
  const auto train = [&](const std::string& head, Words words, const ProcessOptions& options = {}) {
    words.insert(words.end(), {"--weights", weights_, "--train-head", at(head), "--batch", "2"});
    return discover("found", words, options);
  };
  const auto too_many = train("a.safetensors", {"--iterations", "8", "--most-skipped", "0.25"});
  EXPECT_EQ(too_many.status, kFailure);
  EXPECT_THAT(too_many.err, HasSubstr("2 of 4 pictures cannot be read"));

  const auto whole = train("b.safetensors", {"--iterations", "8", "--most-skipped", "0.5"});
  ASSERT_EQ(whole.status, kSomeInputsFailed) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("bad.png"));
  EXPECT_THAT(whole.err, HasSubstr("cut.png"));
  EXPECT_THAT(whole.err, HasSubstr("2 of 4 pictures could not be read"));
  const auto metadata = io::read_safetensors(folder_ / "b.safetensors").metadata;
  EXPECT_EQ(Json::parse(metadata.at("info")).at("failed"), Json({"bad.png", "cut.png"}));
  EXPECT_EQ(train("b.safetensors", {"--iterations", "8", "--resume"}).status, kSomeInputsFailed);

  // An interruption changes nothing.
  const auto stopped = test::run_stopped(
      [&](const ProcessOptions& options) {
        return train("c.safetensors", {"--iterations", "8", "--most-skipped", "0.5", "--resume"}, options);
      },
      SIGTERM, 0.005, 1.4, [&] { fs::remove(folder_ / "c.safetensors"); });
  EXPECT_EQ(stopped.last.status, kSomeInputsFailed) << stopped.last.err;
  EXPECT_GT(stopped.stops, 0);
  EXPECT_EQ(text("c.safetensors"), text("b.safetensors"));
}

// What each method declares for itself: a setting and its default, as the help has it and as the command line takes it.
struct Declared {
  std::string key, value;
};
const std::map<std::string, std::vector<Declared>> kDeclared = {
    {"bisecting-kmeans", {{"tau", "0.2"}, {"clusters", "3"}}},
    {"dino-seg", {{"head", "4"}, {"mass", "0.6"}}},
    {"freemask", {{"short-side", "800"}, {"least-maskness", "0.7"}, {"top-share", "0.2"}}},
    {"found", {{"task", "objects"}, {"found-stage", "layer"}, {"iterations", "500"}, {"batch", "50"}}},
    {"lost", {{"k-patches", "100"}}},
    {"maskcut", {{"tau", "0.15"}}},
    {"tokencut", {{"tau", "0.2"}, {"task", "objects"}}},
    {"tokencut-3ev", {{"tau", "0.2"}}},
};

TEST_F(DiscoverTest, HelpShowsEachMethodsSettingsWithItsOwnDefaults) {
  const std::string help = test::run_usol({"discover", "--help"}).out;
  for (const auto& [method, settings] : kDeclared) {
    const auto start = help.find("With method " + method + ":\n");
    ASSERT_NE(start, std::string::npos) << method << '\n' << help;
    // Up to the next method, or the next group of all: Features.
    const std::string own =
        help.substr(start, std::min(help.find("\nWith method ", start), help.find("\nFeatures:")) - start);
    for (const Declared& setting : settings) {
      if (setting.key == "iterations" || setting.key == "batch") continue;  // in a group of their own
      const auto line = own.find("\n  --" + setting.key + " ");
      ASSERT_NE(line, std::string::npos) << method << ' ' << setting.key << '\n' << own;
      const std::string text = own.substr(line, own.find("\n  --", line + 1) - line);
      EXPECT_THAT(text, HasSubstr("(default " + setting.value + ")")) << method;
    }
  }
}

TEST_F(DiscoverTest, WhatTheMethodDoesNotUseIsRefusedEvenIfItSaysTheDefault) {
  const auto uses = [](const std::string& method, const std::string& key) {
    const auto& own = kDeclared.at(method);
    return std::any_of(own.begin(), own.end(), [&](const Declared& setting) { return setting.key == key; });
  };
  int refused = 0;
  for (const auto& [method, ignored] : kDeclared) {
    for (const auto& [other, settings] : kDeclared) {
      for (const Declared& setting : settings) {
        if (uses(method, setting.key)) continue;
        expect_usage_error(method, {"--backbone", "colour", "--out", at("a.json"), "--" + setting.key, setting.value},
                           "--" + setting.key + " means nothing to method " + method);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 50);
  EXPECT_FALSE(fs::exists(at("a.json")));
  test::write_text(folder_ / "c.toml", "[discover]\nmethod = \"lost\"\ntau = 0.3\n");
  const auto from_file =
      test::run_usol({"discover", at("in"), "--config", at("c.toml"), "--backbone", "colour", "--out", at("a.json")});
  EXPECT_EQ(from_file.status, kBadUsage);
  EXPECT_THAT(from_file.err, HasSubstr("c.toml:3: tau means nothing to method lost"));
}

TEST_F(DiscoverTest, OnlyTheSettingsOfTheMethodAreRecorded) {
  ASSERT_EQ(discover("lost", {"--backbone", "colour", "--out", at("a.json")}).status, kSuccess);
  const Json settings = Json::parse(text("a.json"))["info"]["settings"];
  EXPECT_EQ(settings["method"], "lost");
  EXPECT_EQ(settings["k-patches"], 100);
  for (const char* key : {"tau", "clusters", "task", "head"}) EXPECT_FALSE(settings.contains(key)) << key;
}

TEST_F(DiscoverTest, ADryRunWritesNothing) {
  const auto result = with_weights("lost", {"--out", at("out/a.json"), "--overlays", at("look"), "--dry-run"});
  EXPECT_EQ(result.status, kSuccess) << result.err;
  EXPECT_THAT(result.err, HasSubstr("would work on 2 images"));
  EXPECT_FALSE(fs::exists(folder_ / "out") || fs::exists(folder_ / "look"));
}

TEST_F(DiscoverTest, BadUsageNamesTheRemedy) {
  const std::string out = at("a.json");
  const Words colour = {"--backbone", "colour", "--out", out};
  const auto also = [&](Words words) {
    words.insert(words.begin(), colour.begin(), colour.end());
    return words;
  };
  expect_usage_error("tokencut", {"--backbone", "colour"}, "--out FILE is missing");
  expect_usage_error("tokencut", {"--out", out}, "give weights");
  expect_usage_error("cutler", colour, "expected one of bisecting-kmeans, dino-seg");
  expect_usage_error("found", colour, "give found-weights");
  expect_usage_error("lost", {"--train-head", at("h.pth")}, "--train-head means nothing to method lost");
  expect_usage_error("found", also({"--train-head", at("h.pth")}), "leave out --out");
  expect_usage_error("found", {"--train-head", at("h.pth"), "--size", "64"}, "leave out size");
  expect_usage_error("found", {"--train-head", at("h.bin")}, "ends in .safetensors or .pth");
  expect_usage_error("found", {"--train-head", at("h.pth"), "--backbone", "colour"}, "has no attention");
  expect_usage_error("found", also({"--found-weights", at("gone.pt")}), "gone.pt: no such file");
  expect_usage_error("dino-seg", colour, "has no attention");
  expect_usage_error("found", {"--train-head", at("h.pth"), "--found-stage", "layer"}, "leave out --found-stage");
  expect_usage_error("found", also({"--found-weights", found_head(), "--batch", "50"}), "--batch goes with");
  expect_usage_error("lost", also({"--tau", "0.1"}), "--tau means nothing to method lost");
  expect_usage_error("lost", also({"--task", "saliency"}), "--task means nothing to method lost");
  expect_usage_error("tokencut", also({"--maps", at("m")}), "--maps goes with --task saliency");
  expect_usage_error("tokencut", also({"--bilateral", "off"}), "--bilateral means nothing to task objects");
  expect_usage_error("tokencut", also({"--task", "saliency", "--size", "64"}), "leave out size");
  expect_usage_error("tokencut", also({"--native-aspect"}), "native-aspect needs a size");
  expect_usage_error("tokencut", also({"--size", "4"}), "0 or at least 8");
  expect_usage_error("dino-seg", {"--mass", "0", "--out", out}, "mass: expected above 0");
  EXPECT_FALSE(fs::exists(out) || fs::exists(out + ".journal"));
}

}  // namespace
}  // namespace usol::cli
