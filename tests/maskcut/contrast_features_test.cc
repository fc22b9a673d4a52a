#include "usol/maskcut/contrast_features.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "usol/maskcut/components.h"
#include "usol/maskcut/cut.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour kRed = {200, 40, 50}, kBlue = {40, 50, 190};

// A picture [100, 100] of soft green.
Tensor meadow() {
  Tensor image = Tensor::empty({100, 100, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (int y = 0; y < 100; ++y)
    for (int x = 0; x < 100; ++x, out += 3) {
      out[0] = static_cast<std::uint8_t>(40 + y / 10);
      out[1] = static_cast<std::uint8_t>(150 + x / 20);
      out[2] = 60;
    }
  return image;
}

void paint(Tensor& image, const PixelBox& box, const Colour& colour) {
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (std::int64_t y = box.y0; y < box.y1; ++y)
    for (std::int64_t x = box.x0; x < box.x1; ++x)
      for (std::int64_t c = 0; c < 3; ++c) out[(y * 100 + x) * 3 + c] = colour[static_cast<std::size_t>(c)];
}

double cosine(const Tensor& features, std::int64_t a, std::int64_t b) {
  const std::int64_t n = features.size(1) * features.size(2);
  const float* f = features.data<float>();
  double dot = 0;
  for (std::int64_t d = 0; d < features.size(0); ++d) dot += static_cast<double>(f[d * n + a]) * f[d * n + b];
  return dot;
}

CutResult cuts(const Tensor& image, int masks, Preset preset = Preset::kPaper) {
  MaskCutOptions options;
  options.preset = preset;
  options.masks = masks;
  return cut_features(contrast_features(image, {100, 100}, 10), {100, 100}, options);
}

TEST(ContrastFeatures, ObjectAndBackgroundAreNotConnected) {
  Tensor image = meadow();
  paint(image, {30, 20, 70, 60}, kRed);
  const Tensor features = contrast_features(image, {100, 100}, 10);
  EXPECT_EQ(features.shape(), (Shape{kContrastFeatureDim, 10, 10}));
  for (const std::int64_t i : {0, 34, 45, 99}) EXPECT_NEAR(cosine(features, i, i), 1, 1e-5);
  EXPECT_GT(cosine(features, 33, 45), 0.7);                            // both red
  EXPECT_GT(cosine(features, 0, 99), 0.65);                            // both green, at opposite corners
  EXPECT_LT(cosine(features, 33, 0), 0.7 * std::cos(2) + 0.3 + 0.01);  // red and green
  EXPECT_LT(cosine(features, 33, 0), 0.15);
}

// The share of the frame says nothing about the side, and neither do the corners.
TEST(ContrastFeatures, TheCutTakesTheObjectWhateverItsSize) {
  for (const PixelBox& box : {PixelBox{40, 40, 60, 60}, PixelBox{10, 20, 90, 80}, PixelBox{10, 10, 90, 90}}) {
    Tensor image = meadow();
    paint(image, box, kRed);
    for (const Preset preset : {Preset::kPaper, Preset::kRelease}) {
      const CutResult cut = cuts(image, 1, preset);
      ASSERT_EQ(cut.masks.size(), 1u);
      EXPECT_EQ(bounding_box(cut.masks[0].mask), box) << box.x0;
    }
  }
}

TEST(ContrastFeatures, EachObjectHasACut) {
  Tensor image = meadow();
  paint(image, {10, 20, 30, 50}, kBlue);
  paint(image, {50, 20, 90, 80}, kRed);
  const ContrastObjects objects = contrast_objects(image);
  ASSERT_EQ(objects.count, 2);
  EXPECT_EQ(objects.labels.to_vector<std::int32_t>()[50 * 100 + 70], 1);
  EXPECT_EQ(objects.labels.to_vector<std::int32_t>()[35 * 100 + 20], 2);
  // Objects whose colours are neither each other's nor the background's are equally good: either may be the first.
  const CutResult cut = cuts(image, 2);
  ASSERT_EQ(cut.masks.size(), 2u);
  const PixelBox large{50, 20, 90, 80}, small{10, 20, 30, 50};
  const PixelBox first = bounding_box(cut.masks[0].mask), second = bounding_box(cut.masks[1].mask);
  EXPECT_TRUE((first == large && second == small) || (first == small && second == large));
}

// Colours are smoothed over five pixels, so a line of one is faint, and one of two thinner than the cross.
TEST(ContrastFeatures, ThinLinksDoNotMakeOneObjectOfTwo) {
  Tensor image = meadow();
  paint(image, {10, 20, 40, 50}, kRed);
  paint(image, {60, 20, 90, 80}, kRed);
  paint(image, {40, 34, 60, 36}, kRed);
  EXPECT_EQ(contrast_objects(image).count, 2);
  paint(image, {40, 30, 60, 44}, kRed);
  EXPECT_EQ(contrast_objects(image).count, 1);
}

TEST(ContrastFeatures, SameEveryTimeAndNoneForOneColour) {
  Tensor image = meadow();
  paint(image, {30, 20, 70, 60}, kRed);
  EXPECT_EQ(contrast_features(image, {64, 64}, 8).to_vector<float>(),
            contrast_features(image, {64, 64}, 8).to_vector<float>());
  const Tensor flat = contrast_features(Tensor::full({20, 30, 3}, 77, DType::kU8), {64, 64}, 8);
  for (const float v : flat.to_vector<float>()) ASSERT_EQ(v, 0);
}

TEST(ContrastFeatures, GridOfAnyFrame) {
  Tensor image = meadow();
  paint(image, {30, 20, 70, 60}, kRed);
  EXPECT_EQ(contrast_features(image, {50, 90}, 8).shape(), (Shape{kContrastFeatureDim, 6, 11}));
  EXPECT_EQ(contrast_features(image, {3, 3}, 8).shape(), (Shape{kContrastFeatureDim, 1, 1}));
  EXPECT_EQ(contrast_features(image, {1200, 40}, 8).shape(), (Shape{kContrastFeatureDim, 150, 5}));
  EXPECT_THROW(contrast_features(Tensor::zeros({4, 4, 3}), {64, 64}, 8), Error);
  EXPECT_THROW(contrast_features(image, {64, 64}, 0), Error);
}

}  // namespace
}  // namespace usol::maskcut
