// Parts of annotation sets, and masks as pictures.
#include "usol/io/coco_subset.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/mask_picture.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

// Two images of 2 x 3; the first has a mask in its first column and one in its last pixel.
AnnotationSet sample() {
  AnnotationSet set;
  set.images = {{3, 2, 3, "train/000003.jpg"}, {10, 2, 3, "b.v2.png"}};
  set.categories = {{4, "cup", ""}, {9, "cat", ""}};
  for (const auto& [image, counts] :
       std::vector<std::pair<std::int64_t, std::vector<std::uint32_t>>>{{3, {0, 2, 4}}, {10, {6}}, {3, {5, 1}}}) {
    CocoAnnotation annotation;
    annotation.id = static_cast<std::int64_t>(set.annotations.size()) + 1;
    annotation.image_id = image;
    annotation.category_id = 9;
    annotation.segmentation = set.add(Rle{2, 3, counts});
    set.annotations.push_back(annotation);
  }
  return set;
}

std::vector<std::int64_t> kept(const std::string& list) {
  test::TempDir folder;
  test::write_text(folder / "list.txt", list);
  AnnotationSet set = sample();
  keep_listed_images(set, folder / "list.txt");
  std::vector<std::int64_t> ids;
  for (const CocoImage& image : set.images) ids.push_back(image.id);
  for (const CocoAnnotation& annotation : set.annotations) EXPECT_NE(index_images(set).find(annotation.image_id), -1);
  return ids;
}

TEST(CocoSubset, ListsNameImagesInManyWays) {
  using Ids = std::vector<std::int64_t>;
  for (const char* name : {"3", "train/000003.jpg", "000003", "elsewhere/000003.png", "# a comment\n000003.jpg \t\r\n"})
    EXPECT_EQ(kept(name), Ids{3}) << name;
  EXPECT_EQ(kept("b.v2"), Ids{10});
  EXPECT_EQ(kept("10\n3\n"), (Ids{3, 10}));
  EXPECT_THROW(kept("# nothing\n"), Error);
  EXPECT_THROW(kept("3\nnone\n"), Error);
}

TEST(CocoSubset, OneCategoryAndListsByImage) {
  AnnotationSet set = sample();
  make_class_agnostic(set);
  ASSERT_EQ(set.categories.size(), 1u);
  for (const CocoAnnotation& annotation : set.annotations) EXPECT_EQ(annotation.category_id, 1);
  const auto lists = annotations_by_image(set);
  ASSERT_EQ(lists.size(), 2u);
  ASSERT_EQ(lists[0].size(), 2u);
  EXPECT_EQ(lists[0][1]->id, 3);
  ASSERT_EQ(lists[1].size(), 1u);
}

TEST(MaskPicture, IsTheUnion) {
  const AnnotationSet set = sample();
  const auto lists = annotations_by_image(set);
  const auto picture = [&](std::size_t image, const std::vector<const CocoAnnotation*>& annotations) {
    return mask_picture(set, set.images[image], annotations).to_vector<std::uint8_t>();
  };
  EXPECT_EQ(picture(0, lists[0]), (std::vector<std::uint8_t>{255, 0, 0, 255, 0, 255}));
  EXPECT_EQ(picture(1, lists[1]), std::vector<std::uint8_t>(6, 0));
  EXPECT_EQ(picture(0, {}), std::vector<std::uint8_t>(6, 0));
}

}  // namespace
}  // namespace usol::io
