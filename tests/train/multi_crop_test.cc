// Crops against torchvision on Pillow images, and what is drawn for them.
#include "usol/train/multi_crop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/noise.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

CropParameters crop_of(const std::vector<double>& p) {
  CropParameters c;
  c.top = static_cast<std::int64_t>(p[0]);
  c.left = static_cast<std::int64_t>(p[1]);
  c.height = static_cast<std::int64_t>(p[2]);
  c.width = static_cast<std::int64_t>(p[3]);
  c.flip = p[4] != 0;
  c.jittered = true;
  for (std::size_t i = 0; i < 4; ++i) c.jitter.order[i] = static_cast<int>(p[5 + i]);
  c.jitter.brightness = p[9];
  c.jitter.contrast = p[10];
  c.jitter.saturation = p[11];
  c.jitter.hue = p[12];
  c.grey = p[13] != 0;
  c.blur = p[14];
  c.solarize = p[15] != 0;
  return c;
}

TEST(MultiCrop, BytesArePillows) {
  const auto golden = test::load_golden("adjust.safetensors");
  const Tensor picture = test::noise(40, 52, 3);
  for (const char* number : {"0", "1", "2"}) {
    const Tensor& expected = golden.at(std::string("crop_") + number);
    const auto parameters = golden.at(std::string("parameters_") + number).to_vector<double>();
    const Tensor crop = make_crop(picture, crop_of(parameters), expected.size(0));
    EXPECT_EQ(crop.to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>()) << number;
  }
}

TEST(MultiCrop, DefaultsAreDinos) {
  const MultiCropOptions o;
  EXPECT_EQ(o.global_px, 224);
  EXPECT_EQ(o.local_px, 96);
  EXPECT_EQ(o.locals, 8);
  EXPECT_EQ(o.global_scale, (std::vector<double>{0.4, 1}));
  EXPECT_EQ(o.local_scale, (std::vector<double>{0.05, 0.4}));
  EXPECT_EQ(o.flip, 0.5);
  EXPECT_EQ(o.jitter, 0.8);
  EXPECT_EQ(o.grey, 0.2);
  EXPECT_EQ(o.solarize, 0.2);
  EXPECT_EQ(o.blur, (std::array<double, 3>{1, 0.1, 0.5}));
}

TEST(MultiCrop, BoxesHaveTheirShareAndShape) {
  Generator generator(1);
  double least = 1, most = 0;
  for (int i = 0; i < 500; ++i) {
    const CropParameters c = draw_box({300, 400}, {0.05, 0.4}, generator);
    ASSERT_TRUE(c.top >= 0 && c.left >= 0 && c.top + c.height <= 300 && c.left + c.width <= 400);
    const double share = static_cast<double>(c.height * c.width) / (300 * 400);
    const double ratio = static_cast<double>(c.width) / static_cast<double>(c.height);
    EXPECT_TRUE(ratio > 0.74 && ratio < 1.35) << ratio;
    least = std::min(least, share);
    most = std::max(most, share);
  }
  EXPECT_NEAR(least, 0.05, 0.01);
  EXPECT_NEAR(most, 0.4, 0.01);
}

// What RandomResizedCrop falls back to: no box of the wanted area fits.
TEST(MultiCrop, NarrowPicturesGiveTheLargestCentredBox) {
  Generator generator(1);
  const CropParameters tall = draw_box({300, 30}, {0.9, 1}, generator);
  EXPECT_EQ(tall.width, 30);
  EXPECT_EQ(tall.height, 40);
  EXPECT_EQ(tall.top, 130);
  const CropParameters wide = draw_box({30, 300}, {0.9, 1}, generator);
  EXPECT_EQ(wide.height, 30);
  EXPECT_EQ(wide.width, 40);
  EXPECT_EQ(wide.left, 130);
  const CropParameters dot = draw_box({1, 1}, {0.05, 0.1}, generator);
  EXPECT_EQ(dot.height * dot.width, 1);
}

TEST(MultiCrop, ThingsHappenAsOftenAsTheyShould) {
  constexpr int kPictures = 2000;
  const MultiCropOptions options{.locals = 1};
  int flips = 0, jitters = 0, greys = 0, solarized[3] = {}, blurs[3] = {};
  double most_hue = 0, most_brightness = 0, most_saturation = 0;
  for (int i = 0; i < kPictures; ++i) {
    Generator generator(7, static_cast<std::uint64_t>(i));
    const auto crops = draw_crops({100, 100}, options, generator);
    ASSERT_EQ(crops.size(), 3U);
    for (std::size_t c = 0; c < 3; ++c) {
      flips += crops[c].flip ? 1 : 0;
      jitters += crops[c].jittered ? 1 : 0;
      greys += crops[c].grey ? 1 : 0;
      solarized[c] += crops[c].solarize ? 1 : 0;
      blurs[c] += crops[c].blur > 0 ? 1 : 0;
      EXPECT_TRUE(crops[c].blur == 0 || (crops[c].blur >= 0.1 && crops[c].blur <= 2));
      most_hue = std::max(most_hue, std::abs(crops[c].jitter.hue));
      most_brightness = std::max(most_brightness, crops[c].jitter.brightness);
      most_saturation = std::max(most_saturation, crops[c].jitter.saturation);
    }
  }
  // Five standard deviations at most.
  const auto share = [](int count, int of) { return static_cast<double>(count) / of; };
  EXPECT_NEAR(share(flips, 3 * kPictures), 0.5, 0.033);
  EXPECT_NEAR(share(jitters, 3 * kPictures), 0.8, 0.026);
  EXPECT_NEAR(share(greys, 3 * kPictures), 0.2, 0.026);
  EXPECT_EQ(solarized[0] + solarized[2], 0);
  EXPECT_NEAR(share(solarized[1], kPictures), 0.2, 0.045);
  EXPECT_EQ(blurs[0], kPictures);
  EXPECT_NEAR(share(blurs[1], kPictures), 0.1, 0.034);
  EXPECT_NEAR(share(blurs[2], kPictures), 0.5, 0.056);
  EXPECT_NEAR(most_hue, 0.1, 1e-3);
  EXPECT_NEAR(most_brightness, 1.4, 1e-3);
  EXPECT_NEAR(most_saturation, 1.2, 1e-3);
}

TEST(MultiCrop, GlobalsComeFirst) {
  Generator generator(3), again(3);
  const Tensor picture = test::noise(40, 52, 3);
  const MultiCropOptions options{.global_px = 32, .local_px = 16, .locals = 2};
  const Crops crops = multi_crop(picture, options, generator);
  EXPECT_EQ(crops.globals.shape(), Shape({2, 32, 32, 3}));
  EXPECT_EQ(crops.locals.shape(), Shape({2, 16, 16, 3}));
  const auto drawn = draw_crops({40, 52}, options, again);
  const auto bytes = [](const Tensor& t) { return t.contiguous().to_vector<std::uint8_t>(); };
  EXPECT_EQ(bytes(crops.globals.select(0, 1)), bytes(make_crop(picture, drawn[1], 32)));
  EXPECT_EQ(bytes(crops.locals.select(0, 0)), bytes(make_crop(picture, drawn[2], 16)));
}

TEST(MultiCrop, HiddenBlocksHaveTheirShare) {
  int none = 0;
  double least = 1, most = 0;
  for (int i = 0; i < 1000; ++i) {
    Generator generator(2, static_cast<std::uint64_t>(i));
    const auto cells = draw_block_mask(12, 12, generator).to_vector<std::uint8_t>();
    const double share = static_cast<double>(std::count(cells.begin(), cells.end(), 1)) / 144;
    if (share == 0) {
      ++none;
      continue;
    }
    least = std::min(least, share);
    most = std::max(most, share);
  }
  EXPECT_NEAR(none, 500, 80);
  EXPECT_NEAR(least, 0.1, 0.01);
  EXPECT_NEAR(most, 0.5, 0.01);
  Generator generator(2);
  for (int i = 0; i < 20; ++i) draw_block_mask(1, 1, generator);  // ends
}

TEST(MultiCrop, NumbersThatMakeNoCropsAreRefused) {
  EXPECT_THROW(MultiCropOptions{.global_px = 0}.check_valid(), Error);
  EXPECT_THROW((MultiCropOptions{.global_scale = {0.5, 0.4}}.check_valid()), Error);
  EXPECT_THROW((MultiCropOptions{.local_scale = {0, 0.4}}.check_valid()), Error);
}

}  // namespace
}  // namespace usol::train
