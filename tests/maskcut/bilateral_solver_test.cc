// The bilateral solver against TokenCut's and FOUND's own (golden, made by tests/golden/make_bilateral_solver.py).
#include "usol/maskcut/bilateral_solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/maskcut/components.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

std::vector<std::uint8_t> pixels(const Tensor& mask) { return mask.to_vector<std::uint8_t>(); }

TEST(BilateralSolver, EqualsTheReference) {
  const auto golden = test::load_golden("bilateral_solver.safetensors");
  int cases = 0;
  for (const auto& [key, image] : golden) {
    if (!key.ends_with(".image")) continue;
    const std::string name = key.substr(0, key.size() - 6);
    const Tensor soft = BilateralSolver(image).solve(golden.at(name + ".target"));
    const auto ours = soft.to_vector<double>();
    const auto expected = golden.at(name + ".soft").to_vector<float>();
    double worst = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) worst = std::max(worst, std::abs(ours[i] - expected[i]));
    EXPECT_LT(worst, 2e-7) << name;  // the reference is stored as f32
    EXPECT_EQ(pixels(saliency_mask(soft, Preset::kRelease)), pixels(golden.at(name + ".mask"))) << name;
    EXPECT_EQ(pixels(all_but_largest(soft)), pixels(golden.at(name + ".all"))) << name;
    ++cases;
  }
  EXPECT_EQ(cases, 9);
}

TEST(BilateralSolver, SmoothsWithinAColourAndNotAcross) {
  // Left half dark, right half bright; the target covers one column too many.
  Tensor image = Tensor::zeros({32, 32, 3}, DType::kU8);
  image.slice(1, 16, 32).fill(200);
  Tensor target = Tensor::zeros({32, 32});
  target.slice(1, 15, 32).fill(1);
  const auto soft = BilateralSolver(image, {.sigma_px = 32}).solve(target);
  for (std::int64_t x = 0; x < 32; ++x)
    EXPECT_NEAR(soft.select(0, 7).select(0, x).item(), x < 16 ? 1.0 / 16 : 1.0, 1e-12) << x;
}

Tensor soft_of(const std::vector<std::string>& rows) {
  std::vector<double> values;
  for (const auto& row : rows)
    for (const char c : row) values.push_back(c == '#' ? 0.9 : 0.1);
  return Tensor::from(values, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())});
}

TEST(SaliencyMask, BothPresets) {
  const Tensor small = soft_of({"......", ".##...", ".##.#.", "......"});
  const auto object = std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(pixels(saliency_mask(small, Preset::kPaper)), object);
  EXPECT_EQ(pixels(saliency_mask(small, Preset::kRelease)), object);

  // Holes are filled first; then the foreground is larger than the background.
  const Tensor large = soft_of({"###", "#.#", "###", "..."});
  const std::vector<std::uint8_t> top = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0};
  EXPECT_EQ(pixels(saliency_mask(large, Preset::kPaper)), top);
  EXPECT_EQ(pixels(saliency_mask(large, Preset::kRelease)),
            (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}));

  const Tensor nothing = soft_of({"..", ".."}), everything = soft_of({"##", "##"});
  EXPECT_EQ(mask_area(saliency_mask(nothing, Preset::kPaper)), 0);
  EXPECT_EQ(mask_area(saliency_mask(nothing, Preset::kRelease)), 4);
  EXPECT_EQ(mask_area(saliency_mask(everything, Preset::kPaper)), 4);
  EXPECT_EQ(mask_area(saliency_mask(everything, Preset::kRelease)), 0);
}

TEST(BilateralSolver, RefusesBadInput) {
  const Tensor image = Tensor::zeros({8, 8, 3}, DType::kU8);
  EXPECT_THROW(BilateralSolver(Tensor{}), Error);
  EXPECT_THROW(BilateralSolver(Tensor::zeros({8, 8, 3})), Error);
  EXPECT_THROW(BilateralSolver(Tensor::zeros({8, 0, 3}, DType::kU8)), Error);
  EXPECT_THROW(BilateralSolver(image, {.sigma_px = 0}), Error);
  EXPECT_THROW(BilateralSolver(image, {.sigma_luma = 0.1}), Error);
  EXPECT_THROW(BilateralSolver(image, {.confidence = 0}), Error);
  EXPECT_THROW(BilateralSolver(image).solve(Tensor::zeros({8, 9})), Error);
  EXPECT_THROW(BilateralSolver(image).solve(Tensor::zeros({8, 8}, DType::kI64)), Error);
  Tensor target = Tensor::zeros({8, 8});
  target.mutable_data<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(BilateralSolver(image).solve(target), Error);
  EXPECT_THROW(saliency_mask(target, Preset::kPaper), Error);
}

}  // namespace
}  // namespace usol::maskcut
