// Colours and edges against torchvision's transforms on Pillow images, byte for byte.
#include "usol/io/adjust.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/noise.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using Bytes = std::vector<std::uint8_t>;

Tensor colours() {
  Bytes bytes;
  for (int r = 0; r < 16; ++r)
    for (int g = 0; g < 16; ++g)
      for (int b = 0; b < 16; ++b)
        for (const int level : {r, g, b}) bytes.push_back(static_cast<std::uint8_t>(17 * level));
  return Tensor::from(bytes, {64, 64, 3});
}

void apply(const std::string& operation, double value, Tensor& image) {
  if (operation == "brightness") adjust_brightness(image, value);
  if (operation == "contrast") adjust_contrast(image, value);
  if (operation == "saturation") adjust_saturation(image, value);
  if (operation == "hue") adjust_hue(image, value);
  if (operation == "grey") to_grey(image);
  if (operation == "solarize") solarize(image);
  if (operation == "blur") gaussian_blur(image, value);
}

TEST(Adjust, BytesArePillows) {
  int cases = 0;
  for (const auto& [key, expected] : test::load_golden("adjust.safetensors")) {
    std::istringstream words(key);
    std::string operation, picture;
    double value = 0;
    if (!(words >> operation >> value >> picture)) continue;  // whole crops: multi_crop_test.cc
    Tensor image = picture == "colours" ? colours() : test::noise(19, 23, 3);
    apply(operation, value, image);
    EXPECT_EQ(image.to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>()) << key;
    ++cases;
  }
  EXPECT_EQ(cases, 20);
}

TEST(Adjust, FlippingTwiceIsNothing) {
  Tensor image = test::noise(5, 7, 3);
  const Bytes before = image.to_vector<std::uint8_t>();
  flip_left_right(image);
  const Bytes flipped = image.to_vector<std::uint8_t>();
  EXPECT_EQ(Bytes(flipped.begin(), flipped.begin() + 3), Bytes(before.begin() + 18, before.begin() + 21));
  flip_left_right(image);
  EXPECT_EQ(image.to_vector<std::uint8_t>(), before);
}

TEST(Adjust, ABlurOfASinglePixelKeepsIt) {
  Tensor image = Tensor::full({1, 1, 3}, 77, DType::kU8);
  gaussian_blur(image, 2);
  EXPECT_EQ(image.to_vector<std::uint8_t>(), Bytes(3, 77));
}

TEST(Adjust, RefusesWhatItCannotDo) {
  Tensor grey = Tensor::zeros({4, 4}, DType::kU8), image = test::noise(4, 4, 3);
  EXPECT_THROW(to_grey(grey), Error);
  EXPECT_THROW(adjust_hue(image, 0.51), Error);
  EXPECT_THROW(adjust_brightness(image, -0.1), Error);
  EXPECT_THROW(gaussian_blur(image, -1), Error);
}

}  // namespace
}  // namespace usol::io
