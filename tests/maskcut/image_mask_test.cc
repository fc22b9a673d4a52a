#include "usol/maskcut/image_mask.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

TEST(ImageMask, EqualsPillowAndPycocotoolsInBothPresets) {
  const std::map<std::string, Tensor> golden = test::load_golden("image_mask.safetensors");
  int cases = 0, differing = 0;
  for (const auto& [name, frame] : golden) {
    if (!name.ends_with(".frame")) continue;
    const std::string key = name.substr(0, name.size() - 6);
    const Tensor paper = golden.at(key + ".paper"), release = golden.at(key + ".release");
    const std::int64_t height = paper.size(0), width = paper.size(1);
    EXPECT_EQ(mask_to_image_size(frame, height, width, Preset::kPaper).to_vector<std::uint8_t>(),
              paper.to_vector<std::uint8_t>())
        << key;
    EXPECT_EQ(mask_to_image_size(frame, height, width, Preset::kRelease).to_vector<std::uint8_t>(),
              release.to_vector<std::uint8_t>())
        << key;
    ++cases;
    differing += paper.to_vector<std::uint8_t>() != release.to_vector<std::uint8_t>();
  }
  EXPECT_EQ(cases, 54);
  EXPECT_GE(differing, 5);
}

// Resized, the row has the levels 92, 184 and 92: half of the largest is not more than half. Release takes the first
// pixel, which is as dark, for the background of a mask without any, and exchanges the two.
TEST(ImageMask, HalfOfTheLargestLevelIsOutside) {
  const Tensor row = Tensor::from<std::uint8_t>({0, 0, 1, 1, 0, 1, 1, 0, 0}, {1, 9});
  EXPECT_EQ(mask_to_image_size(row, 1, 3, Preset::kPaper).to_vector<std::uint8_t>(),
            (std::vector<std::uint8_t>{0, 1, 0}));
  EXPECT_EQ(mask_to_image_size(row, 1, 3, Preset::kRelease).to_vector<std::uint8_t>(),
            (std::vector<std::uint8_t>{1, 0, 1}));
}

TEST(ImageMask, RefusesWhatItCannotTake) {
  EXPECT_THROW(mask_to_image_size(Tensor::zeros({4, 4}), 4, 4, Preset::kPaper), Error);
  EXPECT_THROW(mask_to_image_size(Tensor::zeros({0, 4}, DType::kU8), 4, 4, Preset::kPaper), Error);
  EXPECT_THROW(mask_to_image_size(Tensor::zeros({4, 4}, DType::kU8), 0, 4, Preset::kPaper), Error);
}

}  // namespace
}  // namespace usol::maskcut
