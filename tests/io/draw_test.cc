#include "usol/io/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "usol/io/canvas.h"
#include "usol/io/colour.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

std::vector<std::uint8_t> pixels(const Tensor& image) { return image.to_vector<std::uint8_t>(); }
Tensor grey(std::int64_t height, std::int64_t width) { return Tensor::full({height, width, 3}, 100, DType::kU8); }

Colour at(const Tensor& image, std::int64_t y, std::int64_t x) {
  const std::uint8_t* p = image.data<std::uint8_t>() + (y * image.size(1) + x) * 3;
  return {p[0], p[1], p[2]};
}

// A filled disc.
Tensor disc(std::int64_t height, std::int64_t width, double cy, double cx, double radius) {
  Tensor mask = Tensor::zeros({height, width}, DType::kU8);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      if (std::hypot(y + 0.5 - cy, x + 0.5 - cx) < radius) mask.mutable_data<std::uint8_t>()[y * width + x] = 1;
    }
  }
  return mask;
}

double linear(std::uint8_t v) {
  const double x = v / 255.0;
  return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
}
// CIE lightness L* of an sRGB colour: another measure than the OKLab the colours are made in.
double lightness(const Colour& c) {
  const double y = 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b);
  return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
}
double rgb_distance(const Colour& a, const Colour& b) { return std::hypot(a.r - b.r, a.g - b.g, a.b - b.b); }

TEST(Colour, ObjectsAreTellable) {
  for (std::int64_t i = 0; i < 12; ++i) {
    const double l = lightness(distinct_colour(i));
    EXPECT_GT(l, 50) << "too dark to read on a dark plate: " << i;
    EXPECT_LT(l, 90) << i;
    for (std::int64_t j = 0; j < i; ++j) {
      EXPECT_GT(rgb_distance(distinct_colour(i), distinct_colour(j)), i - j < 5 ? 80 : 40) << i << " and " << j;
    }
  }
  EXPECT_EQ(distinct_colour(5), distinct_colour(5));
}

TEST(Colour, HeatMapIsEvenlyLighter) {
  double previous = -1;
  std::vector<double> steps;
  for (int i = 0; i <= 32; ++i) {
    const double l = lightness(heat_colour(i / 32.0));
    EXPECT_GT(l, previous) << i;
    if (i > 0) steps.push_back(l - previous);
    previous = l;
  }
  for (const double step : steps) EXPECT_LT(step, 6.5);
  EXPECT_LT(lightness(heat_colour(0)), 10);
  EXPECT_GT(lightness(heat_colour(1)), 90);
  EXPECT_EQ(heat_colour(-3), heat_colour(0));
  EXPECT_EQ(heat_colour(7), heat_colour(1));
  EXPECT_EQ(heat_colour(std::nan("")), (Colour{128, 128, 128}));
}

TEST(Canvas, EdgesCoverPixelsInPart) {
  Tensor image = Tensor::zeros({4, 6, 3}, DType::kU8);
  Canvas(image).fill(1.5, 1, 3.25, 2, {200, 100, 40}, 1);
  EXPECT_EQ(at(image, 1, 1), (Colour{100, 50, 20}));
  EXPECT_EQ(at(image, 1, 2), (Colour{200, 100, 40}));
  EXPECT_EQ(at(image, 1, 3), (Colour{50, 25, 10}));
  EXPECT_EQ(at(image, 1, 4), (Colour{}));
  EXPECT_EQ(at(image, 2, 2), (Colour{}));
  Canvas(image).fill(-100, -100, 1e9, 1e9, {9, 9, 9}, 1);  // clipped
  EXPECT_EQ(at(image, 3, 5), (Colour{9, 9, 9}));
}

TEST(Canvas, TextHasItsWidthAndTakesAnyBytes) {
  Tensor image = Tensor::zeros({20, 80, 3}, DType::kU8);
  Canvas(image).text(4, 4, 1, "0.93", {255, 255, 255});
  int lit = 0;
  for (std::int64_t y = 0; y < 20; ++y) {
    for (std::int64_t x = 0; x < 80; ++x) {
      if (at(image, y, x) == Colour{}) continue;
      ++lit;
      EXPECT_TRUE(y >= 4 && y < 14 && x >= 4 && x < 4 + text_width("0.93", 1)) << y << " " << x;
    }
  }
  EXPECT_GT(lit, 30);
  std::string bytes;
  for (int c = 1; c < 256; ++c) bytes += static_cast<char>(c);
  Canvas(image).text(0, 0, 1, bytes, {1, 2, 3});
  EXPECT_GT(text_width(bytes, 1), 255 * 3);
}

TEST(Canvas, BorderDistanceOfStraightEdgesIsExactEnough) {
  Tensor mask = Tensor::zeros({30, 40}, DType::kU8);
  mask.slice(1, 10, 40).fill(1);  // border at x = 10; runs out of the image on three sides
  const BorderDistance border = border_distance(mask, 2);
  ASSERT_EQ(border.height, 30);
  for (std::int64_t x = border.x0; x < border.x0 + border.width; ++x) {
    const double exact = std::abs(static_cast<double>(x) + 0.5 - 10);
    const double ours = border.distance[15 * border.width + x - border.x0];
    if (exact < 2) EXPECT_NEAR(ours, exact, 0.15) << x;
    if (exact >= 4) EXPECT_GT(ours, 3) << x;
  }
  EXPECT_EQ(border_distance(Tensor::zeros({5, 5}, DType::kU8), 2).width, 0);
}

TEST(Draw, MasksTintAndOutline) {
  const Tensor image = grey(200, 300);
  OverlayObject object;
  object.mask = disc(200, 300, 100, 150, 60);
  OverlayOptions options;
  options.line_px = 3;
  const Tensor drawn = draw_overlay(image, {object}, options);
  const Colour colour = distinct_colour(0), centre = at(drawn, 100, 150),
               expected{static_cast<std::uint8_t>(std::lround(100 + 0.42 * (colour.r - 100))),
                        static_cast<std::uint8_t>(std::lround(100 + 0.42 * (colour.g - 100))),
                        static_cast<std::uint8_t>(std::lround(100 + 0.42 * (colour.b - 100)))};
  EXPECT_EQ(centre, expected);
  EXPECT_EQ(at(drawn, 10, 10), (Colour{100, 100, 100}));
  EXPECT_EQ(at(drawn, 100, 150 + 65), (Colour{100, 100, 100}));
  // On the border the line has the colour itself; the values change gradually across it.
  double nearest = 1e9;
  std::set<int> reds;
  for (std::int64_t x = 150 + 54; x < 150 + 66; ++x) {
    nearest = std::min(nearest, rgb_distance(at(drawn, 100, x), colour));
    reds.insert(at(drawn, 100, x).r);
  }
  EXPECT_LT(nearest, 5);
  EXPECT_GE(reds.size(), 4u);
  EXPECT_EQ(pixels(image), pixels(grey(200, 300))) << "the input must stay as it is";
  EXPECT_EQ(pixels(draw_overlay(image, {object}, options)), pixels(drawn));
}

TEST(Draw, SmallObjectsLieOnTopOfLargeOnes) {
  OverlayObject small, large;
  small.mask = disc(100, 100, 50, 50, 10);
  large.mask = disc(100, 100, 50, 50, 45);
  OverlayOptions opaque;
  opaque.fill = 1;
  const Tensor drawn = draw_overlay(grey(100, 100), {small, large}, opaque);
  EXPECT_EQ(at(drawn, 50, 50), distinct_colour(0));
  EXPECT_EQ(at(drawn, 50, 75), distinct_colour(1));
}

TEST(Draw, BoxesAndLabels) {
  OverlayObject object;
  object.box = {40, 60, 100, 50};
  const Tensor boxed = draw_overlay(grey(200, 300), {object});
  EXPECT_EQ(at(boxed, 80, 90), (Colour{100, 100, 100}));
  EXPECT_GT(rgb_distance(at(boxed, 60, 90), {100, 100, 100}), 30);
  EXPECT_GT(rgb_distance(at(boxed, 80, 40), {100, 100, 100}), 30);

  object.label = "0.87";
  const Tensor labelled = draw_overlay(grey(200, 300), {object});
  // The plate ends at the box's top edge and begins at its left one.
  EXPECT_LT(lightness(at(labelled, 58, 41)), 15);
  EXPECT_EQ(at(labelled, 58, 38), at(boxed, 58, 38));
  // Boxes beyond the image, thin masks and labels without a place do no harm.
  object.box = {-1e6, -1e6, 3e6, 3e6};
  object.label = std::string(500, 'W');
  EXPECT_EQ(draw_overlay(grey(3, 2), {object}).shape(), (Shape{3, 2, 3}));
  OverlayObject thin;
  thin.mask = Tensor::zeros({50, 50}, DType::kU8);
  thin.mask.slice(0, 20, 21).fill(255);
  EXPECT_EQ(at(draw_overlay(grey(50, 50), {thin}), 20, 25), distinct_colour(0)) << "a thin mask is all outline";
  OverlayObject nothing;
  nothing.label = "empty";
  nothing.mask = Tensor::zeros({50, 50}, DType::kU8);
  EXPECT_EQ(pixels(draw_overlay(grey(50, 50), {nothing})), pixels(grey(50, 50)));
}

TEST(Draw, LabelsAvoidEachOther) {
  std::vector<OverlayObject> objects(3);
  for (auto& object : objects) object.box = {100, 100, 40, 40};
  const Tensor none = draw_overlay(grey(300, 300), objects);
  std::int64_t dark = 0;
  const auto count = [&](std::size_t labels) {
    for (std::size_t i = 0; i < objects.size(); ++i) objects[i].label = i < labels ? "0.50" : "";
    const Tensor drawn = draw_overlay(grey(300, 300), objects);
    dark = 0;
    for (std::int64_t i = 0; i < 300 * 300; ++i) dark += lightness(at(drawn, i / 300, i % 300)) < 15 ? 1 : 0;
    return dark;
  };
  const std::int64_t one = count(1), three = count(3);
  EXPECT_GT(three, 2.7 * one) << "plates lie on each other";
}

TEST(Draw, HeatMapsSpanTheirRange) {
  const Tensor values = Tensor::from<float>({-1, 0, 1, 3}, {2, 2});
  const Tensor map = draw_heat_map(values, 40, 60);
  EXPECT_EQ(map.shape(), (Shape{40, 60, 3}));
  EXPECT_EQ(at(map, 0, 0), heat_colour(0));
  EXPECT_EQ(at(map, 0, 59), heat_colour(0.25));
  EXPECT_EQ(at(map, 39, 0), heat_colour(0.5));
  EXPECT_EQ(at(map, 39, 59), heat_colour(1));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(at(draw_heat_map(Tensor::from<float>({nan, 1, 2}, {1, 3}), 1, 3), 0, 0), (Colour{128, 128, 128}));
  EXPECT_EQ(at(draw_heat_map(Tensor::full({2, 2}, 7), 2, 2), 1, 1), heat_colour(0.5));
  EXPECT_EQ(draw_heat_map(values.to(DType::kF64), 9, 9, Filter::kBicubic).shape(), (Shape{9, 9, 3}));
  EXPECT_THROW(draw_heat_map(Tensor::zeros({2, 2}, DType::kU8), 2, 2), Error);
  EXPECT_THROW(draw_heat_map(Tensor::full({2, 2}, INFINITY), 2, 2), Error);
}

TEST(Draw, SideBySideKeepsAspect) {
  const Tensor plain = draw_side_by_side({{grey(60, 90), ""}, {grey(30, 20), ""}});
  EXPECT_EQ(plain.shape(), (Shape{60, 90 + 4 + 40, 3}));
  EXPECT_EQ(at(plain, 30, 92), (Colour{255, 255, 255}));
  const Tensor titled = draw_side_by_side({{grey(60, 90), "W"}, {grey(30, 20), "eigenvector 1"}}, 120);
  EXPECT_GT(titled.size(0), 120);
  EXPECT_EQ(titled.size(1), 180 + 4 + 80);
  EXPECT_EQ(at(titled, titled.size(0) - 1, 0), (Colour{100, 100, 100}));
}

TEST(Draw, RefusesWhatItCannotTake) {
  OverlayObject object;
  object.mask = Tensor::zeros({10, 11}, DType::kU8);
  EXPECT_THROW(draw_overlay(grey(10, 10), {object}), Error);
  object.mask = Tensor::zeros({10, 10});
  EXPECT_THROW(draw_overlay(grey(10, 10), {object}), Error);
  EXPECT_THROW(draw_overlay(Tensor::zeros({10, 10}, DType::kU8), {}), Error);
  OverlayObject odd;
  odd.box = {0, 0, std::nan(""), 4};
  EXPECT_THROW(draw_overlay(grey(10, 10), {odd}), Error);
  EXPECT_THROW(draw_side_by_side({}), Error);
  OverlayOptions options;
  options.fill = 2;
  EXPECT_THROW(draw_overlay(grey(10, 10), {}, options), Error);
}

}  // namespace
}  // namespace usol::io
