// Overlays of pictures of any shape, and what becomes of one that cannot be made.
#include "usol/pipeline/overlay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/kept_log.h"
#include "usol/io/image.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

using testing::HasSubstr;

maskcut::MaskCutResult result_of(std::int64_t height, std::int64_t width, std::size_t cuts) {
  maskcut::MaskCutResult result;
  result.masks.emplace_back();
  result.masks[0].mask = Tensor::full({height, width}, 1, DType::kU8);
  result.stages.resize(cuts);
  for (maskcut::CutStage& stage : result.stages) stage.eigenvector = Tensor::zeros({6, 6}, DType::kF64);
  return result;
}

TEST(Overlay, LongPicturesAreOfBoundedSize) {
  struct Sides {
    std::int64_t height, width;
  };
  for (const auto& [height, width] : {Sides{300, 1}, {1, 300}, {600, 30}, {30, 600}, {70000, 3}, {3, 70000}}) {
    const Tensor image = Tensor::full({height, width, 3}, 90, DType::kU8);
    const Tensor masks = draw_masks(image, {Tensor::full({height, width}, 1, DType::kU8)});
    const Tensor cuts = draw_maskcut(image, result_of(height, width, 3));
    for (const Tensor& drawn : {masks, cuts}) {
      EXPECT_LE(drawn.size(0), 4096) << height << " x " << width;
      EXPECT_LE(drawn.size(1), 1024) << height << " x " << width;
      EXPECT_FALSE(io::encode_jpeg(drawn, 90).empty());
    }
  }
}

TEST(Overlay, OrdinaryPicturesAreEnlargedToTheLeastWidth) {
  const Tensor drawn = draw_masks(Tensor::full({600, 120, 3}, 90, DType::kU8), {});
  EXPECT_EQ(drawn.shape(), (Shape{2400, 480, 3}));
  EXPECT_EQ(draw_masks(Tensor::full({800, 900, 3}, 90, DType::kU8), {}).shape(), (Shape{640, 720, 3}));
}

TEST(Overlay, ManyCutsAreNoLongerThanAPictureFile) {
  const Tensor drawn = draw_maskcut(Tensor::full({300, 100, 3}, 90, DType::kU8), result_of(300, 100, 1000));
  EXPECT_LE(drawn.size(0), 32768);
  EXPECT_GT(drawn.size(0), 30000);
}

TEST(Overlay, OneThatCannotBeMadeIsAWarning) {
  OverlayFiles files;
  test::LoggedRun logged;
  EXPECT_FALSE(files.encode("a.jpg", [] { return Tensor::zeros({4, 4, 3}, DType::kU8); }).empty());
  files.say(logged.run);
  EXPECT_EQ(logged.log->text(), "");
  EXPECT_TRUE(files.encode("b.jpg", [] { return Tensor::zeros({70000, 1, 3}, DType::kU8); }).empty());
  files.say(logged.run);
  EXPECT_THAT(logged.log->text(), HasSubstr("1 pictures have no overlay"));
  EXPECT_THAT(logged.log->text(), HasSubstr("b.jpg: encode_jpeg"));
}

}  // namespace
}  // namespace usol
