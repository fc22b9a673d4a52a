// Cuts of several pictures in step: on every device each picture's cuts are those it has alone.
#include "usol/maskcut/cut_batch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "usol/maskcut/components.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

struct Picture {
  Tensor features, release, paper;  // [D, h, w]; masks [stages, H, W], undefined where there are none
};

// The golden pictures by the shape of their features, no more than `most_patches` each: the emulated device is slow.
std::map<std::vector<std::int64_t>, std::vector<Picture>> golden_pictures(std::int64_t most_patches) {
  const auto golden = test::load_golden("maskcut.safetensors");
  std::map<std::vector<std::int64_t>, std::vector<Picture>> pictures;
  for (const auto& [name, value] : golden) {
    if (!name.ends_with(".features")) continue;
    const std::string start = name.substr(0, name.rfind('.') + 1);
    Picture picture{value.to(DType::kF32), {}, {}};
    if (golden.contains(start + "release")) picture.release = golden.at(start + "release");
    if (golden.contains(start + "paper")) picture.paper = golden.at(start + "paper");
    if (value.size(1) * value.size(2) <= most_patches)
      pictures[{value.size(0), value.size(1), value.size(2)}].push_back(std::move(picture));
  }
  return pictures;
}

Tensor together(const std::vector<Picture>& pictures) {
  const Shape one = pictures[0].features.shape();
  Tensor all = Tensor::empty({static_cast<std::int64_t>(pictures.size()), one[0], one[1], one[2]});
  for (std::size_t i = 0; i < pictures.size(); ++i)
    all.select(0, static_cast<std::int64_t>(i)).copy_from(pictures[i].features);
  return all;
}

void expect_golden_masks(Device device, std::int64_t most_patches) {
  int compared = 0;
  for (const auto& [shape, pictures] : golden_pictures(most_patches)) {
    for (const Preset preset : {Preset::kPaper, Preset::kRelease}) {
      MaskCutOptions options;
      options.preset = preset;
      std::vector<Size> frames;
      for (const Picture& picture : pictures) {
        const Tensor& masks = preset == Preset::kPaper ? picture.paper : picture.release;
        frames.push_back(masks.defined() ? Size{masks.size(1), masks.size(2)} : Size{48, 48});
      }
      const std::vector<MaskCutOptions> all(pictures.size(), options);
      const std::vector<PictureCuts> cuts = cut_features_batch(together(pictures).to(device), frames, all);
      ASSERT_EQ(cuts.size(), pictures.size());
      for (std::size_t i = 0; i < pictures.size(); ++i) {
        ASSERT_FALSE(cuts[i].error);
        const Tensor& expected = preset == Preset::kPaper ? pictures[i].paper : pictures[i].release;
        const CutResult alone = cut_features(pictures[i].features, frames[i], options);
        ASSERT_EQ(cuts[i].result.stages.size(), alone.stages.size());
        for (std::size_t t = 0; t < alone.stages.size(); ++t) {
          EXPECT_EQ(cuts[i].result.stages[t].outcome, alone.stages[t].outcome);
          EXPECT_NEAR(cuts[i].result.stages[t].eigenvalue, alone.stages[t].eigenvalue, 1e-9);
        }
        if (!expected.defined()) continue;
        Tensor masks = Tensor::zeros(expected.shape(), DType::kU8);
        for (const FrameMask& mask : cuts[i].result.masks)
          masks.select(0, static_cast<std::int64_t>(mask.stage)).copy_from(mask.mask);
        EXPECT_EQ(masks.to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>());
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 5);
}

TEST(CutBatch, GoldenMasks) { expect_golden_masks(Device::cpu(), 400); }

TEST(CudaCutBatch, GoldenMasks) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  expect_golden_masks(Device::cuda(), 256);
}

// Two stripes whose widths differ from picture to picture.
Tensor striped(std::int64_t pictures) {
  Tensor features = Tensor::zeros({pictures, 3, 6, 8});
  float* out = features.mutable_data<float>();
  for (std::int64_t p = 0; p < pictures; ++p)
    for (std::int64_t y = 0; y < 6; ++y)
      for (std::int64_t x = 0; x < 8; ++x) out[((p * 3 + (x <= p ? 1 : y == 3 && x == 6 ? 2 : 0)) * 6 + y) * 8 + x] = 1;
  return features;
}

void expect_errors_of_their_own(Device device) {
  Tensor features = striped(3);
  features.mutable_data<float>()[3 * 48 + 5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Size> frames(3, {12, 16});
  std::vector<MaskCutOptions> options(3);
  std::vector<std::string> dumped;
  options[2].dump = [&](std::string_view name, const Tensor&) { dumped.emplace_back(name); };
  const std::vector<PictureCuts> cuts = cut_features_batch(features.to(device), frames, options);
  EXPECT_FALSE(cuts[0].error);
  EXPECT_TRUE(cuts[1].error);
  EXPECT_FALSE(cuts[2].error);
  EXPECT_GE(cuts[2].result.masks.size(), 1u);
  ASSERT_GE(dumped.size(), 3u);
  EXPECT_EQ(dumped[0], "K");
  EXPECT_EQ(dumped[1], "W_1");
  options[0].masks = 0;
  EXPECT_THROW(cut_features_batch(features.to(device), frames, options), Error);
  options.pop_back();
  EXPECT_THROW(cut_features_batch(features.to(device), frames, options), Error);
}

TEST(CutBatch, ErrorsAndDumpsAreEachPicturesOwn) { expect_errors_of_their_own(Device::cpu()); }

TEST(CudaCutBatch, ErrorsAndDumpsAreEachPicturesOwn) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  expect_errors_of_their_own(Device::cuda());
}

}  // namespace
}  // namespace usol::maskcut
