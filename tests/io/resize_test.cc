#include "usol/io/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/noise.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::io {
namespace {

using test::noise;

std::vector<std::uint8_t> pixels(const Tensor& image) { return image.to_vector<std::uint8_t>(); }

Filter filter_named(const std::string& name) {
  return name == "nearest"    ? Filter::kNearest
         : name == "bilinear" ? Filter::kBilinear
         : name == "bicubic"  ? Filter::kBicubic
                              : Filter::kLanczos;
}

TEST(Resize, BitsArePillows) {
  int cases = 0, orders = 0;
  for (const auto& [key, expected] : test::load_golden("resize.safetensors")) {
    SCOPED_TRACE(key);
    char name[16] = {};
    long height = 0, width = 0, channels = 0, h = 0, w = 0;
    ASSERT_EQ(std::sscanf(key.c_str(), "%15[a-z]_%ldx%ldx%ld_to_%ldx%ld", name, &height, &width, &channels, &h, &w), 6);
    const bool newest = key.ends_with("_13");
    const Tensor ours = resize(noise(height, width, channels), h, w, filter_named(name),
                               newest ? PassOrder::kPillow13 : PassOrder::kHorizontalFirst);
    ASSERT_EQ(ours.shape(), expected.shape());
    EXPECT_EQ(pixels(ours), pixels(expected));
    ++cases;
    orders += newest ? 1 : 0;
  }
  EXPECT_EQ(cases, 86);
  EXPECT_EQ(orders, 6);
}

// The definition, one output sample at a time: weights of one axis, rounded to 22 bits.
std::vector<std::uint8_t> resize_axis(const std::vector<std::uint8_t>& in, std::int64_t outer, std::int64_t size,
                                      std::int64_t inner, std::int64_t target, Filter filter) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(outer * target * inner));
  const double scale = static_cast<double>(size) / static_cast<double>(target), stretch = std::max(scale, 1.0);
  const double lobes = filter == Filter::kBilinear ? 1 : filter == Filter::kBicubic ? 2 : 3;
  const auto value = [&](double x) {
    if (filter == Filter::kLanczos) {
      const auto sinc = [](double y) { return y == 0 ? 1.0 : std::sin(y * M_PI) / (y * M_PI); };
      return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0.0;
    }
    x = std::abs(x);
    if (filter == Filter::kBilinear) return std::max(0.0, 1 - x);
    if (x < 1) return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0.0;
  };
  for (std::int64_t t = 0; t < target; ++t) {
    const double center = (static_cast<double>(t) + 0.5) * scale;
    const auto first = static_cast<std::int64_t>(std::max(0.0, center - lobes * stretch + 0.5));
    const auto last = std::min(size, static_cast<std::int64_t>(center + lobes * stretch + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (std::int64_t i = first; i < last; ++i) {
      weights.push_back(value((static_cast<double>(i) - center + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t n = 0; n < inner; ++n) {
        std::int64_t total = 1 << 21;
        for (std::int64_t i = first; i < last; ++i) {
          total += std::llround(weights[static_cast<std::size_t>(i - first)] / sum * (1 << 22)) *
                   in[static_cast<std::size_t>((o * size + i) * inner + n)];
        }
        out[static_cast<std::size_t>((o * target + t) * inner + n)] =
            static_cast<std::uint8_t>(std::min<std::int64_t>(255, std::max<std::int64_t>(0, total >> 22)));
      }
    }
  }
  return out;
}

TEST(Resize, EqualsItsDefinitionAtRandomSizes) {
  std::mt19937 random(3);
  const auto size = [&] { return static_cast<std::int64_t>(1 + random() % (random() % 3 == 0 ? 150 : 40)); };
  for (int round = 0; round < 150; ++round) {
    const std::int64_t height = size(), width = size(), channels = 1 + static_cast<std::int64_t>(random() % 4);
    const std::int64_t h = size(), w = size();
    const Filter filter = std::vector{Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}[random() % 3];
    SCOPED_TRACE(testing::Message() << height << "x" << width << "x" << channels << " to " << h << "x" << w
                                    << " filter " << static_cast<int>(filter));
    const Tensor image = noise(height, width, channels);
    auto expected = pixels(image);
    if (w != width) expected = resize_axis(expected, height, width, channels, w, filter);
    if (h != height) expected = resize_axis(expected, 1, height, w * channels, h, filter);
    ASSERT_EQ(pixels(resize(image, h, w, filter)), expected);
  }
}

TEST(Resize, SameBitsForAnyThreads) {
  const Tensor image = noise(123, 217, 3);
  for (const Filter filter : {Filter::kNearest, Filter::kLanczos}) {
    set_thread_count(1);
    const auto one = pixels(resize(image, 301, 99, filter));
    set_thread_count(5);
    EXPECT_EQ(pixels(resize(image, 301, 99, filter)), one);
    set_thread_count(0);
  }
}

TEST(Resize, MasksAndViews) {
  const Tensor image = noise(20, 30, 3);
  const Tensor red = image.select(2, 0);  // strided [H, W]
  const Tensor small = resize(red, 7, 9, Filter::kBicubic);
  EXPECT_EQ(small.shape(), (Shape{7, 9}));
  EXPECT_EQ(pixels(small), pixels(resize(image, 7, 9, Filter::kBicubic).select(2, 0)));
  const Tensor same = resize(image, 20, 30, Filter::kLanczos);
  EXPECT_EQ(pixels(same), pixels(image));
  EXPECT_NE(same.raw(), image.raw()) << "the result must not share the input's memory";
}

TEST(Resize, RefusesWhatItCannotTake) {
  const Tensor image = noise(4, 4, 3);
  EXPECT_THROW(resize(image, 0, 4, Filter::kBilinear), Error);
  EXPECT_THROW(resize(image, 4, -1, Filter::kNearest), Error);
  EXPECT_THROW(resize(image, 4, (1 << 24) + 1, Filter::kNearest), Error);
  EXPECT_THROW(resize(Tensor(), 4, 4, Filter::kNearest), Error);
  EXPECT_THROW(resize(Tensor::zeros({4, 4, 3}), 2, 2, Filter::kNearest), Error);
  EXPECT_THROW(resize(Tensor::zeros({4, 4, 5}, DType::kU8), 2, 2, Filter::kNearest), Error);
  EXPECT_THROW(resize(Tensor::zeros({0, 4, 3}, DType::kU8), 2, 2, Filter::kNearest), Error);
}

}  // namespace
}  // namespace usol::io
