// The synthetic scenes: what they promise of objects and truth.
#include "tests/support/scenes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"

namespace usol {
namespace {

TEST(Scenes, VisiblePartsAreApartAndLargeEnough) {
  const test::SceneOptions options{.seed = 3};
  std::size_t several = 0;
  for (std::int64_t i = 0; i < 30; ++i) {
    const test::Scene scene = test::make_scene(options, i);
    ASSERT_GE(scene.masks.size(), 1u);
    ASSERT_LE(scene.masks.size(), 5u);
    several += scene.masks.size() > 1;
    std::vector<int> owners(static_cast<std::size_t>(scene.image.size(0) * scene.image.size(1)), 0);
    for (const Tensor& mask : scene.masks) {
      const auto pixels = mask.to_vector<std::uint8_t>();
      EXPECT_GE(std::count(pixels.begin(), pixels.end(), 1), 40);
      for (std::size_t p = 0; p < pixels.size(); ++p) owners[p] += pixels[p];
    }
    EXPECT_LE(*std::max_element(owners.begin(), owners.end()), 1);
  }
  EXPECT_GT(several, 10u);
}

// What a grey picture is like where `inside` is set: mean, deviation, and mean squares of differences in four
// directions.
struct Look {
  double mean = 0, deviation = 0, across = 0, down = 0, falling = 0, rising = 0;
};

Look look_at(const Tensor& image, const std::vector<std::uint8_t>& inside) {
  const std::int64_t h = image.size(0), w = image.size(1);
  const auto pixels = image.to_vector<std::uint8_t>();
  const auto at = [&](std::int64_t y, std::int64_t x) { return static_cast<std::size_t>(y * w + x); };
  const auto grey = [&](std::int64_t y, std::int64_t x) { return static_cast<double>(pixels[3 * at(y, x)]); };
  Look look;
  double count = 0, pairs = 0, squares = 0;
  for (std::int64_t y = 1; y + 1 < h; ++y)
    for (std::int64_t x = 0; x + 1 < w; ++x) {
      if (!inside[at(y, x)]) continue;
      ++count;
      look.mean += grey(y, x);
      squares += grey(y, x) * grey(y, x);
      if (!inside[at(y, x + 1)] || !inside[at(y + 1, x)] || !inside[at(y + 1, x + 1)] || !inside[at(y - 1, x + 1)])
        continue;
      ++pairs;
      const auto square = [&](double v) { return v * v; };
      look.across += square(grey(y, x + 1) - grey(y, x));
      look.down += square(grey(y + 1, x) - grey(y, x));
      look.falling += square(grey(y + 1, x + 1) - grey(y, x));
      look.rising += square(grey(y - 1, x + 1) - grey(y, x));
    }
  look.mean /= count;
  look.deviation = std::sqrt(squares / count - look.mean * look.mean);
  for (double* sum : {&look.across, &look.down, &look.falling, &look.rising}) *sum /= pairs;
  return look;
}

// The light changes brightness and contrast by an eighth at most, and a wave has few turns in a small object.
TEST(Scenes, OfTexturesHaveNothingElseToTellObjectsBy) {
  const test::SceneOptions options{.kind = test::SceneKind::kTextures, .seed = 3, .least_px = 40};
  int objects = 0, of_other_directions = 0;
  for (std::int64_t i = 0; i < 20; ++i) {
    const test::Scene scene = test::make_scene(options, i);
    std::vector<std::uint8_t> rest(static_cast<std::size_t>(scene.image.size(0) * scene.image.size(1)), 1);
    for (const Tensor& mask : scene.masks) {
      const auto inside = mask.to_vector<std::uint8_t>();
      for (std::size_t p = 0; p < rest.size(); ++p) rest[p] = rest[p] && !inside[p];
    }
    const Look background = look_at(scene.image, rest);
    for (const Tensor& mask : scene.masks) {
      const auto inside = mask.to_vector<std::uint8_t>();
      if (std::count(inside.begin(), inside.end(), 1) < 900) continue;
      const Look object = look_at(scene.image, inside);
      EXPECT_NEAR(object.mean, background.mean, 16) << i;
      EXPECT_NEAR(object.deviation / background.deviation, 1, 0.2) << i;
      EXPECT_NEAR(object.across / background.across, 1, 0.35) << i;
      EXPECT_NEAR(object.down / background.down, 1, 0.35) << i;
      ++objects;
      of_other_directions += std::abs(std::log(object.falling / background.falling)) > 0.35 ||
                             std::abs(std::log(object.rising / background.rising)) > 0.35;
    }
  }
  EXPECT_GT(objects, 15);
  EXPECT_GT(of_other_directions, objects / 3);
}

// The hue of a colour in turns.
double hue_of(double red, double green, double blue) {
  const double most = std::max({red, green, blue}), spread = most - std::min({red, green, blue});
  double sixths = 0;
  if (most == red) sixths = (green - blue) / spread;
  if (most == green) sixths = 2 + (blue - red) / spread;
  if (most == blue) sixths = 4 + (red - green) / spread;
  return sixths / 6 - std::floor(sixths / 6);
}

TEST(Scenes, OfKindsHaveOneHueForEachKind) {
  const test::SceneOptions options{.kind = test::SceneKind::kKinds, .seed = 3};
  std::vector<int> objects(5, 0);
  for (std::int64_t i = 0; i < 30; ++i) {
    const test::Scene scene = test::make_scene(options, i);
    ASSERT_EQ(scene.categories.size(), scene.masks.size());
    const auto pixels = scene.image.to_vector<std::uint8_t>();
    for (std::size_t k = 0; k < scene.masks.size(); ++k) {
      const std::int64_t category = scene.categories[k];
      ASSERT_GE(category, 1);
      ASSERT_LE(category, 4);
      ++objects[static_cast<std::size_t>(category)];
      const auto inside = scene.masks[k].to_vector<std::uint8_t>();
      std::array<double, 3> sum{};
      for (std::size_t p = 0; p < inside.size(); ++p)
        for (std::size_t c = 0; c < 3; ++c) sum[c] += inside[p] * pixels[3 * p + c];
      const double turn = hue_of(sum[0], sum[1], sum[2]) - static_cast<double>(category - 1) / 4;
      EXPECT_LT(std::abs(turn - std::round(turn)), 0.11) << i << ": object " << k << " of category " << category;
    }
  }
  for (std::size_t category = 1; category <= 4; ++category) EXPECT_GT(objects[category], 10) << category;
}

TEST(Scenes, FilesNameTheKinds) {
  const test::TempDir folder;
  const test::SceneOptions options{.kind = test::SceneKind::kKinds, .seed = 4};
  test::write_scenes(folder.path(), options, 6);
  const io::AnnotationSet truth = io::read_coco(folder / "truth.json");
  ASSERT_EQ(truth.categories.size(), 4u);
  EXPECT_EQ(truth.categories[2].id, 3);
  EXPECT_EQ(truth.categories[2].name, "box");
  std::size_t next = 0;
  for (std::int64_t i = 0; i < 6; ++i)
    for (const std::int64_t category : test::make_scene(options, i).categories)
      EXPECT_EQ(truth.annotations.at(next++).category_id, category);
  EXPECT_EQ(next, truth.annotations.size());
}

TEST(Scenes, FilesHoldTheTruth) {
  const test::TempDir folder;
  const test::SceneOptions options{.seed = 4};
  test::write_scenes(folder.path(), options, 3);
  const io::AnnotationSet truth = io::read_coco(folder / "truth.json");
  ASSERT_EQ(truth.images.size(), 3u);
  std::size_t next = 0;
  for (std::int64_t i = 0; i < 3; ++i) {
    const test::Scene scene = test::make_scene(options, i);
    const io::CocoImage& image = truth.images[static_cast<std::size_t>(i)];
    EXPECT_EQ(io::decode_image(folder / image.file_name).to_vector<std::uint8_t>(),
              scene.image.to_vector<std::uint8_t>());
    for (const Tensor& mask : scene.masks) {
      const io::CocoAnnotation& annotation = truth.annotations.at(next++);
      EXPECT_EQ(annotation.image_id, image.id);
      EXPECT_EQ(io::rle_decode(truth.rle(annotation, image.height, image.width)).to_vector<std::uint8_t>(),
                mask.to_vector<std::uint8_t>());
    }
  }
  EXPECT_EQ(next, truth.annotations.size());
  // Another seed, other scenes.
  EXPECT_NE(test::make_scene({.seed = 5}, 0).image.to_vector<std::uint8_t>(),
            test::make_scene(options, 0).image.to_vector<std::uint8_t>());
}

}  // namespace
}  // namespace usol
