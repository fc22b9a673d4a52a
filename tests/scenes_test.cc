// The synthetic scenes: what they promise of objects and truth.
#include "tests/support/scenes.h"

#include <gtest/gtest.h>

#include <algorithm>

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
