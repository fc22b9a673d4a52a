// Pictures and outlines within their bytes; outlines against the masks they stand for.
#include "usol/report/small_picture.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string>

#include "usol/io/image.h"
#include "usol/io/resize.h"

namespace usol::report {
namespace {

// Noise: what JPEG cannot shrink.
Tensor noise(std::int64_t height, std::int64_t width) {
  Tensor image = Tensor::empty({height, width, 3}, DType::kU8);
  auto* pixels = image.mutable_data<std::uint8_t>();
  std::uint32_t state = 1;
  for (std::int64_t i = 0; i < image.numel(); ++i) {
    state = state * 1664525u + 1013904223u;
    pixels[i] = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

// A disc with a hole, and a square apart from it.
Tensor shapes(std::int64_t height, std::int64_t width) {
  Tensor mask = Tensor::zeros({height, width}, DType::kU8);
  auto* m = mask.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const double r = std::hypot(static_cast<double>(y) - 0.5 * static_cast<double>(height),
                                  static_cast<double>(x) - 0.4 * static_cast<double>(width));
      const double unit = 0.1 * static_cast<double>(height);
      const bool square = x > 0.85 * static_cast<double>(width) && y < 0.2 * static_cast<double>(height);
      m[y * width + x] = (r < 3 * unit && r > unit) || square;
    }
  }
  return mask;
}

// Reads the paths that outline_path writes: M x y, l dx dy ..., z.
std::vector<std::vector<double>> rings_of(const std::string& path) {
  std::vector<std::vector<double>> rings;
  const char* p = path.c_str();
  double x = 0, y = 0;
  const auto number = [&] {
    char* end = nullptr;
    const double value = std::strtod(p, &end);
    EXPECT_NE(p, end) << path;
    p = end;
    return value;
  };
  while (*p) {
    if (*p == 'M') {
      ++p;
      x = number(), y = number();
      rings.push_back({x, y});
    } else if (*p == 'l' || *p == ' ' || *p == '-' || std::isdigit(static_cast<unsigned char>(*p))) {
      if (*p == 'l') ++p;
      x += number(), y += number();
      rings.back().insert(rings.back().end(), {x, y});
    } else {
      EXPECT_EQ(*p, 'z') << path;
      ++p;
    }
  }
  return rings;
}

TEST(SmallPicture, StaysWithinItsBytes) {
  const Tensor image = noise(300, 500);
  std::size_t before = 0;
  for (const std::size_t bytes : {2'000u, 10'000u, 30'000u, 120'000u}) {
    const auto jpeg = jpeg_within(image, bytes, 960);
    EXPECT_LE(jpeg.size(), bytes);
    EXPECT_GT(jpeg.size(), bytes / 4) << "wastes the room that it has";
    EXPECT_GT(jpeg.size(), before);
    before = jpeg.size();
    const Size size = io::image_size(jpeg, "small");
    EXPECT_NEAR(static_cast<double>(size.width) / static_cast<double>(size.height), 5.0 / 3, 0.1);
  }
  EXPECT_EQ(io::image_size(jpeg_within(image, 1'000'000, 100), "small"), (Size{60, 100}));
  EXPECT_EQ(io::image_size(jpeg_within(noise(20, 10), 1'000'000, 960), "never enlarged"), (Size{20, 10}));
  EXPECT_EQ(io::image_size(jpeg_within(image, 0, 960), "whatever it takes").width, 16);
}

TEST(SmallPicture, OutlinesFillWhatTheMaskFills) {
  for (const auto& [height, width] : {std::pair{480, 640}, {900, 1200}, {120, 160}}) {
    const Tensor mask = shapes(height, width);
    const OutlineGrid grid = outline_grid(height, width);
    EXPECT_EQ(grid.width, kOutlineUnits);
    const std::string path = outline_path(mask, grid, 0.9);
    EXPECT_LT(path.size(), 1200u);
    // Even-odd: the rings' rasters, one over the other.
    const Tensor want = resize(mask, grid.height, grid.width, io::Filter::kNearest);
    std::vector<int> inside(static_cast<std::size_t>(want.numel()));
    const auto rings = rings_of(path);
    EXPECT_EQ(rings.size(), 3u);
    for (const auto& ring : rings) {
      const std::vector<std::vector<double>> one = {ring};
      const auto filled = io::rle_decode(io::rle_from_polygons(one, grid.height, grid.width)).to_vector<std::uint8_t>();
      for (std::size_t i = 0; i < inside.size(); ++i) inside[i] ^= filled[i];
    }
    const auto wanted = want.to_vector<std::uint8_t>();
    double both = 0, any = 0;
    for (std::size_t i = 0; i < inside.size(); ++i) {
      both += inside[i] && wanted[i];
      any += inside[i] || wanted[i];
    }
    EXPECT_GT(both / any, 0.975) << height;
  }
}

TEST(SmallPicture, OutlinesOfNextToNothing) {
  Tensor mask = Tensor::zeros({3000, 4000}, DType::kU8);
  const OutlineGrid grid = outline_grid(3000, 4000);
  EXPECT_EQ(outline_path(mask, grid, 0.9), "");
  mask.mutable_data<std::uint8_t>()[1000 * 4000 + 2001] = 1;  // one pixel of twelve million
  EXPECT_EQ(outline_path(mask, grid, 0.9), "M320 160H321V161H320z");
  EXPECT_EQ(box_path({400, 300, 800, 600}, 3000, 4000, grid), "M64 48H192V144H64z");
}

TEST(SmallPicture, OutlinesGetCoarserThenFewer) {
  const io::Rle rle = io::rle_encode(shapes(480, 640));
  std::vector<OutlinedObject> objects(10, OutlinedObject{rle, {}, {}});
  EXPECT_EQ(outline_within(objects, 480, 640, 100'000), 0);
  const std::size_t fine = objects[0].path.size();
  EXPECT_EQ(outline_within(objects, 480, 640, fine * 7), 0);
  EXPECT_LT(objects[0].path.size(), fine);
  EXPECT_GT(outline_within(objects, 480, 640, fine), 0);
  EXPECT_NE(objects.front().path, "") << "the best is the last to go";
  EXPECT_EQ(objects.back().path, "");
  std::size_t total = 0;
  for (const auto& object : objects) total += object.path.size();
  EXPECT_LE(total, fine);
}

}  // namespace
}  // namespace usol::report
