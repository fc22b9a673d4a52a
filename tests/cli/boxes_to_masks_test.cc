// The walk of docs/solov2.md from boxes to masks: a COCO file without a single mask, a detector that learns from it,
// the masks that it predicts, their scores against a truth with masks and against one of boxes, and the page. Each verb
// as a user types it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/generator.h"

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

constexpr std::int64_t kHeight = 96, kWidth = 128;

// A rhombus: half of its box is not it.
struct Rhombus {
  double x, y, half_width, half_height;
  std::array<double, 3> colour;

  bool holds(double u, double v) const { return std::abs(u - x) / half_width + std::abs(v - y) / half_height < 1; }
};

class BoxesToMasks : public testing::Test {
 protected:
  BoxesToMasks() {
    const std::vector<std::vector<Rhombus>> pictures{
        {{44, 46, 34, 38, {200, 60, 40}}},
        {{70, 48, 40, 32, {40, 90, 200}}},
        {{34, 48, 28, 40, {60, 160, 60}}, {96, 50, 28, 34, {190, 60, 160}}},
        {{84, 44, 36, 36, {210, 180, 40}}}};
    std::filesystem::create_directories(folder_ / "photos");
    io::CocoWriter writer(folder_ / "truth.json");
    Generator noise(3);
    std::int64_t id = 0, object = 0;
    for (const auto& shapes : pictures) {
      const std::string name = "p" + std::to_string(++id) + ".png";
      Tensor image = Tensor::empty({kHeight, kWidth, 3}, DType::kU8);
      std::vector<Tensor> masks(shapes.size());
      for (Tensor& mask : masks) mask = Tensor::zeros({kHeight, kWidth}, DType::kU8);
      std::uint8_t* pixel = image.mutable_data<std::uint8_t>();
      for (std::int64_t y = 0; y < kHeight; ++y) {
        for (std::int64_t x = 0; x < kWidth; ++x) {
          std::array<double, 3> colour{120, 118, 110};
          for (std::size_t i = 0; i < shapes.size(); ++i) {
            if (!shapes[i].holds(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5)) continue;
            colour = shapes[i].colour;
            masks[i].mutable_data<std::uint8_t>()[y * kWidth + x] = 1;
          }
          for (const double value : colour) *pixel++ = static_cast<std::uint8_t>(value + noise.uniform(-3, 3));
        }
      }
      io::write_png(folder_ / "photos" / name, image);
      writer.add_image({id, kHeight, kWidth, name});
      for (const Tensor& mask : masks) {
        const io::Rle rle = io::rle_encode(mask);
        io::CocoAnnotation annotation;
        annotation.id = ++object;
        annotation.image_id = id;
        annotation.category_id = 1;
        annotation.box = io::rle_to_box(rle);
        annotation.area = annotation.box[2] * annotation.box[3] / 2;
        writer.add_annotation(annotation, rle);
      }
    }
    writer.finish(std::vector<io::CocoCategory>{{1, "thing", "thing"}});
    Json boxes = read("truth.json");
    for (Json& annotation : boxes["annotations"]) annotation.erase("segmentation");
    test::write_text(folder_ / "boxes.json", boxes.dump());
    test::write_text(folder_ / "small.toml",
                     "[train]\ndetector = \"solov2\"\nloss = \"boxinst\"\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\n"
                     "norm = \"SyncBN\"\nchannels = 16\ninstance-channels = 32\nmask-channels = 32\n"
                     "kernel-channels = 32\ninstance-convolutions = 1\nshort-sides = [96]\nbatch = 4\n"
                     "reference-batch = 4\niterations = 150\nsteps = [120]\ngamma = 0.1\nwarmup = 0\n"
                     "pairwise-warmup = 75\noptimizer = \"adamw\"\nlr = 0.004\nflip = 0.0\nlog-every = 50\n"
                     "precise-bn = 2\ncopy-paste = false\nbottom-px = 0\n");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  Json read(const std::string& name) const { return Json::parse(test::read_text(folder_ / name)); }
  test::ProcessResult usol(Words words) const {
    words.insert(words.end(), {"--threads", "1"});
    return test::run_usol(words);
  }
  Words training(const std::string& annotations, const std::string& out) const {
    return {"train",        "--config",   at("small.toml"), "--annotations", at(annotations),
            "--image-root", at("photos"), "--out",          at(out)};
  }

  test::TempDir folder_;
};

TEST_F(BoxesToMasks, AWalk) {
  Words words = training("boxes.json", "run");
  words.insert(words.end(), {"--eval-annotations", at("boxes.json"), "--eval-image-root", at("photos"),
                             "--eval-short-side", "96", "--pictures-every", "150"});
  const auto trained = usol(words);
  ASSERT_EQ(trained.status, 0) << trained.err;
  // Meanwhile it is scored on what the truth has.
  EXPECT_NE(trained.err.find("bbox/AP"), std::string::npos) << trained.err;
  EXPECT_EQ(trained.err.find("segm/AP"), std::string::npos) << trained.err;
  const auto predicted = usol({"predict", at("photos"), "--weights", at("run/model_final.safetensors"), "--score",
                               "0.3", "--short-side", "96", "--overlays", at("look"), "--out", at("found.json")});
  ASSERT_EQ(predicted.status, 0) << predicted.err;

  // Each mask fits its object better than the object's own box does.
  const io::AnnotationSet truth = io::read_coco(at("truth.json")), found = io::read_coco(at("found.json"));
  for (const io::CocoAnnotation& object : truth.annotations) {
    const std::vector<io::Rle> mask{truth.rle(object, kHeight, kWidth)};
    const std::vector<io::Rle> box{io::rle_from_box(object.box, kHeight, kWidth)};
    double best = 0;
    for (const io::CocoAnnotation& other : found.annotations)
      if (other.image_id == object.image_id)
        best = std::max(best, io::rle_iou(std::vector<io::Rle>{found.rle(other, kHeight, kWidth)}, mask).front());
    EXPECT_LT(io::rle_iou(box, mask).front(), 0.55);
    EXPECT_GT(best, 0.75) << "object " << object.id;
  }

  const auto scored = usol(
      {"eval", "--gt", at("truth.json"), "--pred", at("found.json"), "--class-agnostic", "--out", at("masks.json")});
  ASSERT_EQ(scored.status, 0) << scored.err;
  EXPECT_GT(read("masks.json")["mask"]["AP50"].get<double>(), 0.9);
  EXPECT_GT(read("masks.json")["box"]["AP50"].get<double>(), 0.9);
  const auto by_boxes =
      usol({"eval", "--gt", at("boxes.json"), "--pred", at("found.json"), "--class-agnostic", "--out", at("of.json")});
  ASSERT_EQ(by_boxes.status, 0) << by_boxes.err;
  EXPECT_NE(by_boxes.err.find("boxes.json has no masks: boxes alone are compared"), std::string::npos) << by_boxes.err;
  EXPECT_EQ(read("of.json")["box"], read("masks.json")["box"]);
  EXPECT_FALSE(read("of.json").contains("mask"));
  const auto page = usol({"report", at("found.json"), "--images", at("photos"), "--annotations", at("boxes.json"),
                          "--out", at("report.html")});
  EXPECT_EQ(page.status, 0) << page.err;
}

// The boxes of a file with masks are learned the same; a held-out truth that has masks is compared by masks, too.
TEST_F(BoxesToMasks, MasksInTheFileAreNotRead) {
  const auto train = [&](const std::string& annotations, const std::string& out) {
    Words words = training(annotations, out);
    words.insert(words.end(), {"--iterations", "2", "--eval-annotations", at("truth.json"), "--eval-image-root",
                               at("photos"), "--eval-short-side", "96"});
    const auto done = usol(words);
    ASSERT_EQ(done.status, 0) << done.err;
    EXPECT_NE(done.err.find("segm/AP"), std::string::npos) << done.err;
  };
  train("boxes.json", "boxes");
  train("truth.json", "masks");
  EXPECT_EQ(test::read_metrics(folder_ / "boxes/metrics.json"), test::read_metrics(folder_ / "masks/metrics.json"));
}

TEST_F(BoxesToMasks, WhatDoesNotFitIsSaid) {
  Words words = training("boxes.json", "other");
  words.insert(words.end(), {"--loss", "supervised"});
  test::write_text(folder_ / "small.toml", "[train]\ndetector = \"solov2\"\n");
  const auto supervised = usol(words);
  EXPECT_EQ(supervised.status, kFailure);
  EXPECT_NE(supervised.err.find("it has no segmentation"), std::string::npos) << supervised.err;
  EXPECT_NE(supervised.err.find("BoxInst's loss"), std::string::npos) << supervised.err;
  words = training("truth.json", "other");
  words.insert(words.end(), {"--loss", "boxinst", "--truth-boxes", "masks", "--dry-run"});
  const auto no_masks = usol(words);
  EXPECT_EQ(no_masks.status, kBadUsage);
  EXPECT_NE(no_masks.err.find("truth-boxes masks"), std::string::npos) << no_masks.err;
}

}  // namespace
}  // namespace usol::cli
