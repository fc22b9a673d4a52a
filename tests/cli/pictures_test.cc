// What all verbs that read pictures have in common: the formats, the decoders' warnings at the end, --scale-16bit and
// --max-pixels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/atomic_file.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/image_codec.h"
#include "usol/io/safetensors.h"
#include "usol/nn/param_store.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

// A folder with a picture of 16-bit grey, one without its last chunk, and one that is whole; and their truth.
class PicturesTest : public testing::Test {
 protected:
  PicturesTest() {
    const auto files = test::load_golden("image_formats.safetensors");
    const auto write = [&](const char* name, const char* of) {
      const Tensor bytes = files.at(of).contiguous();
      io::write_file(folder_ / "photos" / name, {bytes.raw(), static_cast<std::size_t>(bytes.numel())});
    };
    fs::create_directory(folder_ / "photos");
    write("deep.png", "png_deep.file");
    write("cut.png", "png_without_12.file");
    test::write_rectangles(folder_ / "photos", {{9, 13, 2, 7, 3, 9}});  // p0.png
    Json truth = Json::parse(test::read_text(folder_ / "photos" / "truth.json"));
    truth["images"].push_back({{"id", 2}, {"height", 9}, {"width", 13}, {"file_name", "deep.png"}});
    Json object = truth["annotations"][0];
    object["id"] = 77;
    object["image_id"] = 2;
    truth["annotations"].push_back(object);
    test::write_text(folder_ / "truth.json", truth.dump());
    fs::remove(folder_ / "photos" / "truth.json");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Words colour(const std::string& verb, const std::string& out, const Words& more = {}) const {
    Words words{verb, at("photos"), "--backbone", "colour", "--size", "64", "--threads", "1", "--out", at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static void expect_deep_warning(const test::ProcessResult& result) {
    EXPECT_THAT(result.err, HasSubstr("warning: 1 picture: grey of more than 8 bits"));
    EXPECT_THAT(result.err, HasSubstr("scale-16bit"));
    EXPECT_THAT(result.err, HasSubstr("deep.png: 16-bit grey values above 255 were clipped"));
  }

  test::TempDir folder_;
};

TEST_F(PicturesTest, EveryVerbSaysTheWarningsOnceEvenWhenQuiet) {
  const std::vector<Words> commands = {
      colour("maskcut", "masks.json", {"-q"}),
      colour("run", "run", {"-q"}),
      colour("features", "features", {"-q"}),
      colour("discover", "found.json", {"-q", "--method", "bisecting-kmeans"}),
      colour("sweep", "sweep", {"-q", "--param", "tau=0.1,0.2", "--param", "size=48,64"}),
      {"report", at("masks.json"), "--images", at("photos"), "--out", at("report.html"), "-q"}};
  for (const Words& words : commands) {
    SCOPED_TRACE(words[0]);
    const auto result = test::run_usol(words);
    EXPECT_EQ(result.status, kSuccess) << result.err;
    expect_deep_warning(result);
    EXPECT_THAT(result.err, HasSubstr("warning: 1 picture: damaged, and decoded"));
    EXPECT_THAT(result.err, HasSubstr("cut.png: PNG is cut off at byte"));
    const auto first = result.err.find("warning: 1 picture: grey");
    EXPECT_EQ(result.err.find("warning: 1 picture: grey", first + 1), std::string::npos) << result.err;
  }
}

TEST_F(PicturesTest, PredictAndTrainingSayThem) {
  StateDict detector;
  for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
    if (name.starts_with("cascade/")) detector[name.substr(8)] = tensor;
  io::save_safetensors(folder_ / "detector.safetensors", detector);
  const auto predicted =
      test::run_usol({"predict", at("photos"), "--weights", at("detector.safetensors"), "--short-side", "64",
                      "--long-side", "96", "--threads", "1", "--out", at("found.json"), "-q"});
  EXPECT_EQ(predicted.status, kSuccess) << predicted.err;
  expect_deep_warning(predicted);

  test::write_text(folder_ / "small.toml",
                   "[train]\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\nchannels = 8\nhidden = 16\nstages = 1\n"
                   "short-sides = [64]\nlong-side = 96\nbatch = 2\nreference-batch = 2\nproposals = 50\nwarmup = 1\n"
                   "iterations = 2\nsteps = [2]\nprecise-bn = 0\nworkers = 1\nlog-every = 1\n");
  Words words = {"train",
                 "--config",
                 at("small.toml"),
                 "--annotations",
                 at("truth.json"),
                 "--image-root",
                 at("photos"),
                 "--threads",
                 "1",
                 "--eval-every",
                 "2",
                 "--eval-annotations",
                 at("truth.json"),
                 "--eval-image-root",
                 at("photos"),
                 "--eval-short-side",
                 "64",
                 "-q",
                 "--out",
                 at("training")};
  const auto trained = test::run_usol(words);
  EXPECT_EQ(trained.status, kSuccess) << trained.err;
  expect_deep_warning(trained);
  words.back() = at("scaled");
  words.push_back("--scale-16bit");
  const auto scaled = test::run_usol(words);
  EXPECT_EQ(scaled.status, kSuccess) << scaled.err;
  EXPECT_THAT(scaled.err, Not(HasSubstr("16bit")));
}

TEST_F(PicturesTest, ScaledGreyIsASettingThatTheOutputRecords) {
  ASSERT_EQ(test::run_usol(colour("maskcut", "a.json")).status, kSuccess);
  const auto scaled = test::run_usol(colour("maskcut", "b.json", {"--scale-16bit"}));
  ASSERT_EQ(scaled.status, kSuccess) << scaled.err;
  EXPECT_THAT(scaled.err, Not(HasSubstr("16-bit")));
  const auto setting = [&](const char* name) {
    return Json::parse(test::read_text(folder_ / name))["info"]["settings"]["scale-16bit"];
  };
  EXPECT_EQ(setting("a.json"), false);
  EXPECT_EQ(setting("b.json"), true);
  // White all over has nothing to cut out; scaled noise has.
  const auto annotations_of = [&](const char* name) {
    const io::AnnotationSet set = io::read_coco(folder_ / name);
    std::string text;
    for (const io::CocoImage& image : set.images)
      for (const auto& annotation : set.annotations)
        if (annotation.image_id == image.id && image.file_name == "deep.png")
          text += io::coco_annotation_json(annotation, set.rle(annotation, image.height, image.width));
    return text;
  };
  EXPECT_NE(annotations_of("a.json"), annotations_of("b.json"));
}

TEST_F(PicturesTest, LargerPicturesThanMaxPixelsAreListedAndTheOthersGoOn) {
  test::write_rectangles(folder_ / "photos", {{9, 13, 2, 7, 3, 9}, {40, 30, 5, 20, 5, 20}});
  fs::remove(folder_ / "photos" / "truth.json");
  const auto result = test::run_usol(colour("maskcut", "a.json", {"--max-pixels", "117"}));
  EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
  EXPECT_THAT(result.err, HasSubstr("p1.png: PNG header promises 30 x 40 = 1200 pixels, the limit is 117"));
  EXPECT_EQ(io::read_coco(folder_ / "a.json").images.size(), 3u);
  // The limit is no setting: with a higher one the run goes on.
  EXPECT_EQ(test::run_usol(colour("maskcut", "a.json", {"--resume"})).status, kSuccess);
  EXPECT_EQ(io::read_coco(folder_ / "a.json").images.size(), 4u);
}

TEST_F(PicturesTest, FoldersOfEveryFormatThatThisBuildReads) {
  const auto files = test::load_golden("image_formats.safetensors");
  std::size_t expected = 3;
  const auto add = [&](bool there, const char* name, const char* of) {
    if (!there) return;
    const Tensor bytes = files.at(of).contiguous();
    io::write_file(folder_ / "photos" / name, {bytes.raw(), static_cast<std::size_t>(bytes.numel())});
    ++expected;
  };
  add(io::webp_codec() != nullptr, "a.webp", "webp_lossy.file");
  add(io::tiff_codec() != nullptr, "b.tif", "tiff_rgb.file");
  add(io::avif_codec() != nullptr, "c.avif", "avif_420.file");
  add(io::heic_codec() != nullptr, "d.HEIC", "heic_420.file");
  add(true, "e.pbm", "pnm_p4.file");
  const auto result = test::run_usol(colour("maskcut", "a.json"));
  EXPECT_EQ(result.status, kSuccess) << result.err;
  EXPECT_EQ(io::read_coco(folder_ / "a.json").images.size(), expected);
}

}  // namespace
}  // namespace usol::cli
