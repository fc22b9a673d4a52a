#include "usol/maskcut/colour_features.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/golden.h"
#include "usol/io/image.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

double cosine(const Tensor& features, std::int64_t a, std::int64_t b) {
  const std::int64_t n = features.size(1) * features.size(2);
  const float* f = features.data<float>();
  double dot = 0, aa = 0, bb = 0;
  for (std::int64_t d = 0; d < features.size(0); ++d) {
    dot += static_cast<double>(f[d * n + a]) * f[d * n + b];
    aa += static_cast<double>(f[d * n + a]) * f[d * n + a];
    bb += static_cast<double>(f[d * n + b]) * f[d * n + b];
  }
  return dot / std::sqrt(aa * bb);
}

// A red square on green, [64, 64].
Tensor red_on_green() {
  Tensor image = Tensor::empty({64, 64, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (int y = 0; y < 64; ++y)
    for (int x = 0; x < 64; ++x, out += 3) {
      const bool inside = y >= 16 && y < 48 && x >= 24 && x < 56;
      out[0] = inside ? 200 : 30;
      out[1] = inside ? 40 : 160;
      out[2] = 50;
    }
  return image;
}

TEST(ColourFeatures, LikePatchesAreSimilarUnlikeOnesAreNot) {
  const Tensor features = colour_features(red_on_green(), {64, 64}, 8);
  EXPECT_EQ(features.shape(), (Shape{kColourFeatureDim, 8, 8}));
  const auto patch = [](int y, int x) { return static_cast<std::int64_t>(y * 8 + x); };
  EXPECT_GT(cosine(features, patch(3, 4), patch(3, 5)), 0.8);   // both red, neighbours
  EXPECT_GT(cosine(features, patch(1, 1), patch(1, 2)), 0.8);   // both green
  EXPECT_LT(cosine(features, patch(3, 4), patch(7, 1)), 0.15);  // red, green
  EXPECT_GT(cosine(features, patch(0, 0), patch(0, 1)), cosine(features, patch(0, 0), patch(7, 7)));  // position
}

TEST(ColourFeatures, FourTenthsOfThePairsAreConnectedInAPicture) {
  const Tensor image = io::decode_image(test::source_path("tests/pictures/coffee.jpg"));
  const Tensor features = colour_features(image, {160, 160}, 8);
  const std::int64_t n = 400;
  int connected = 0;
  for (std::int64_t i = 0; i < n; i += 3)
    for (std::int64_t j = 0; j < n; j += 3) connected += cosine(features, i, j) > 0.15;
  EXPECT_NEAR(connected / std::pow(134.0, 2), 0.4, 0.08);
}

TEST(ColourFeatures, SameFeaturesEveryTimeAndNoneForOneColour) {
  EXPECT_EQ(colour_features(red_on_green(), {64, 64}, 8).to_vector<float>(),
            colour_features(red_on_green(), {64, 64}, 8).to_vector<float>());
  const Tensor flat = colour_features(Tensor::full({20, 30, 3}, 77, DType::kU8), {64, 64}, 8);
  for (const float v : flat.to_vector<float>()) ASSERT_EQ(v, 0);
}

TEST(ColourFeatures, GridOfAnyFrame) {
  EXPECT_EQ(colour_features(red_on_green(), {50, 90}, 8).shape(), (Shape{kColourFeatureDim, 6, 11}));
  EXPECT_EQ(colour_features(red_on_green(), {3, 3}, 8).shape(), (Shape{kColourFeatureDim, 1, 1}));
  EXPECT_THROW(colour_features(Tensor::zeros({4, 4, 3}), {64, 64}, 8), Error);
  EXPECT_THROW(colour_features(Tensor::zeros({4, 4, 1}, DType::kU8), {64, 64}, 8), Error);
  EXPECT_THROW(colour_features(red_on_green(), {64, 64}, 0), Error);
  EXPECT_THROW(colour_features(red_on_green(), {0, 64}, 8), Error);
}

}  // namespace
}  // namespace usol::maskcut
