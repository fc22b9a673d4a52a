// A picture through the whole of MaskCut: frame, CRF, filled holes, drop rule, original size, score.
#include "usol/maskcut/maskcut.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "usol/io/image.h"
#include "usol/maskcut/colour_features.h"
#include "usol/maskcut/components.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

// A red ellipse on green, 90 x 120, and patch features of it that make it the object.
struct Scene {
  Tensor image = Tensor::empty({90, 120, 3}, DType::kU8);
  Tensor truth = Tensor::zeros({90, 120}, DType::kU8);
  Tensor features = Tensor::zeros({2, 12, 12});

  Scene() {
    std::uint8_t* out = image.mutable_data<std::uint8_t>();
    std::uint8_t* inside = truth.mutable_data<std::uint8_t>();
    for (int y = 0; y < 90; ++y)
      for (int x = 0; x < 120; ++x, out += 3) {
        const double u = (x - 50) / 30.0, v = (y - 40) / 20.0;
        const bool in = u * u + v * v < 1;
        inside[y * 120 + x] = in;
        out[0] = static_cast<std::uint8_t>(in ? 210 : 20 + (x * 7 + y * 3) % 5);
        out[1] = static_cast<std::uint8_t>(in ? 40 + (x * 3 + y * 5) % 6 : 150);
        out[2] = 60;
      }
    float* f = features.mutable_data<float>();
    for (int y = 0; y < 12; ++y)
      for (int x = 0; x < 12; ++x) {
        const bool in = inside[static_cast<int>((y + 0.5) * 7.5) * 120 + x * 10 + 5] != 0;
        f[(in ? 0 : 144) + y * 12 + x] = 1;
      }
  }
};

MaskCutOptions small_options() {
  MaskCutOptions options;
  options.size = 96;
  options.masks = 1;
  return options;
}

TEST(MaskCut, RefinesAnEllipseToItsOutline) {
  const Scene scene;
  for (const Preset preset : {Preset::kPaper, Preset::kRelease}) {
    MaskCutOptions options = small_options();
    options.preset = preset;
    const MaskCutResult result = maskcut(scene.features, scene.image, options);
    ASSERT_EQ(result.masks.size(), 1u);
    const PseudoMask& mask = result.masks[0];
    EXPECT_EQ(mask.mask.shape(), (Shape{90, 120}));
    EXPECT_GT(mask_iou(mask.mask, scene.truth), 0.95);
    EXPECT_GT(mask.crf_iou, 0.8);
    EXPECT_LT(mask.crf_iou, 1);
    EXPECT_DOUBLE_EQ(mask.score, (1 - mask.ncut / 2) * mask.crf_iou);
    EXPECT_EQ(mask.ncut, result.stages[0].ncut);
    EXPECT_EQ(mask.stage, 0);
    EXPECT_EQ(result.stages[0].outcome, StageOutcome::kAccepted);
    EXPECT_FALSE(mask.degenerate);

    options.crf = false;
    const MaskCutResult coarse = maskcut(scene.features, scene.image, options);
    ASSERT_EQ(coarse.masks.size(), 1u);
    EXPECT_EQ(coarse.masks[0].crf_iou, 1);
    EXPECT_LT(mask_iou(coarse.masks[0].mask, scene.truth), 0.95);
    EXPECT_GT(mask_iou(coarse.masks[0].mask, scene.truth), 0.75);
  }
}

// The features point at something the picture does not show: the CRF takes most of it away, and the mask is dropped.
TEST(MaskCut, DropsAMaskThatTheCrfChangesTooMuch) {
  const Scene scene;
  Tensor features = Tensor::zeros({2, 12, 12});
  float* f = features.mutable_data<float>();
  for (int i = 0; i < 144; ++i) f[(i / 12 == 9 && i % 12 == 9 ? 0 : 144) + i] = 1;
  const MaskCutResult result = maskcut(features, scene.image, small_options());
  EXPECT_TRUE(result.masks.empty());
  ASSERT_EQ(result.stages.size(), 1u);
  EXPECT_EQ(result.stages[0].outcome, StageOutcome::kCrfRejected);
  MaskCutOptions without = small_options();
  without.crf = false;
  EXPECT_EQ(maskcut(features, scene.image, without).masks.size(), 1u);
}

// The CRF takes the left 16 columns, which are red, out of a mask that reaches further: what is left of it decides.
TEST(MaskCut, DropsAMaskOfWhichTheCrfLeavesLessThanHalf) {
  constexpr std::int64_t kSide = 64, kRed = 16;
  Tensor image = Tensor::zeros({kSide, kSide, 3}, DType::kU8);
  image.select(2, 1).fill(150);
  image.slice(1, 0, kRed).select(2, 0).fill(210);
  image.slice(1, 0, kRed).select(2, 1).fill(40);
  MaskCutOptions options;
  options.size = kSide;
  for (const auto& [columns, kept] : {std::pair<std::int64_t, bool>{29, true}, {32, true}, {33, false}}) {
    SCOPED_TRACE(columns);
    Tensor mask = Tensor::zeros({kSide, kSide}, DType::kU8);
    mask.slice(1, 0, columns).fill(1);
    CutResult cut;
    cut.stages.resize(1);
    cut.stages[0].outcome = StageOutcome::kAccepted;
    cut.masks.push_back({mask, 0});
    const MaskCutResult result = refine_cuts(std::move(cut), image, options);
    EXPECT_EQ(result.stages[0].outcome, kept ? StageOutcome::kAccepted : StageOutcome::kCrfRejected);
    ASSERT_EQ(result.masks.size(), kept ? 1u : 0u);
    if (!kept) continue;
    EXPECT_EQ(mask_area(result.masks[0].mask), kSide * kRed);
    EXPECT_DOUBLE_EQ(result.masks[0].crf_iou, static_cast<double>(kRed) / static_cast<double>(columns));
  }
}

// The CRF leaves a hole where the picture has the background's colour; the mask has none.
TEST(MaskCut, HolesAreFilledAfterTheCrf) {
  constexpr std::int64_t kSide = 64;
  Tensor image = Tensor::zeros({kSide, kSide, 3}, DType::kU8);
  image.select(2, 1).fill(150);
  const auto fill = [&](std::int64_t first, std::int64_t end, int red, int green) {
    image.slice(0, first, end).slice(1, first, end).select(2, 0).fill(red);
    image.slice(0, first, end).slice(1, first, end).select(2, 1).fill(green);
  };
  fill(12, 52, 210, 40);
  fill(24, 40, 0, 150);
  MaskCutOptions options;
  options.size = kSide;
  std::map<std::string, std::int64_t> areas;
  options.dump = [&](std::string_view name, const Tensor& value) { areas[std::string(name)] = mask_area(value); };
  Tensor ring = Tensor::zeros({kSide, kSide}, DType::kU8);
  ring.slice(0, 12, 52).slice(1, 12, 52).fill(1);
  ring.slice(0, 24, 40).slice(1, 24, 40).fill(0);
  CutResult cut;
  cut.stages.resize(1);
  cut.masks.push_back({ring, 0});
  const MaskCutResult result = refine_cuts(std::move(cut), image, options);
  ASSERT_EQ(result.masks.size(), 1u);
  EXPECT_EQ(areas.at("C_1"), 40 * 40 - 16 * 16);
  EXPECT_EQ(areas.at("F_1"), 40 * 40);
  EXPECT_EQ(mask_area(result.masks[0].mask), 40 * 40);
}

TEST(MaskCut, PicturesUnderTheSameOptionsShareTheCrfsFrame) {
  MaskCutOptions options;
  options.size = 64;
  std::vector<std::shared_ptr<const CrfFrame>> others;
  for (std::size_t i = 0; i < CrfFrames::kKept; ++i)
    others.push_back(options.frames->get(8, 8 + static_cast<std::int64_t>(i), {}));
  CutResult cut;
  cut.stages.resize(1);
  cut.masks.push_back({Tensor::full({64, 64}, 1, DType::kU8), 0});
  for (int picture = 0; picture < 3; ++picture) {
    const MaskCutOptions copy = options;
    static_cast<void>(refine_cuts(cut, Tensor::full({40, 50, 3}, 7, DType::kU8), copy));
    EXPECT_EQ(others[0].use_count(), 1) << "the pictures' frame is kept in its place";
    EXPECT_EQ(others[1].use_count(), 2) << "one frame for all three";
  }
}

TEST(MaskCut, DefaultsAreThePapers) {
  const MaskCutOptions options;
  EXPECT_EQ(options.tau, 0.15);
  EXPECT_EQ(options.masks, 3);
  EXPECT_EQ(options.size, 480);
  EXPECT_EQ(options.patch, 8);
  EXPECT_EQ(options.preset, Preset::kPaper);
  EXPECT_TRUE(options.crf);
  EXPECT_FALSE(options.native_aspect);
}

TEST(MaskCut, NativeAspectTakesMapsOfTheirOwnShape) {
  const Scene scene;
  MaskCutOptions options = small_options();
  options.native_aspect = true;
  EXPECT_EQ(working_size(90, 120, options), (Size{80, 112}));
  std::map<std::string, Shape> seen;
  options.dump = [&](std::string_view name, const Tensor& value) { seen[std::string(name)] = value.shape(); };
  const MaskCutResult result = maskcut(scene.features.slice(1, 0, 10), scene.image, options);
  ASSERT_EQ(result.masks.size(), 1u);
  EXPECT_EQ(seen.at("S_1"), (Shape{80, 112}));
  EXPECT_EQ(seen.at("C_1"), (Shape{80, 112}));
  EXPECT_EQ(seen.at("F_1"), (Shape{80, 112}));
  EXPECT_EQ(seen.at("R_1"), (Shape{90, 120}));
}

// One pixel: whatever the frame shows has to end as that pixel or as nothing.
TEST(MaskCut, AOnePixelPicture) {
  const Scene scene;
  const Tensor pixel = Tensor::full({1, 1, 3}, 99, DType::kU8);
  MaskCutOptions options = small_options();
  options.crf = false;
  const MaskCutResult result = maskcut(scene.features, pixel, options);
  ASSERT_EQ(result.masks.size(), 1u);
  EXPECT_EQ(mask_area(result.masks[0].mask), 1);
}

TEST(MaskCut, TheSameMasksEveryTime) {
  const Tensor image = io::decode_image(test::source_path("tests/pictures/rocket.jpg"));
  MaskCutOptions options;
  options.size = 160;
  const Tensor features = colour_features(image, working_size(image.size(0), image.size(1), options), options.patch);
  const MaskCutResult first = maskcut(features, image, options), second = maskcut(features, image, options);
  ASSERT_GE(first.masks.size(), 1u);
  ASSERT_EQ(first.masks.size(), second.masks.size());
  for (std::size_t i = 0; i < first.masks.size(); ++i) {
    EXPECT_EQ(first.masks[i].mask.to_vector<std::uint8_t>(), second.masks[i].mask.to_vector<std::uint8_t>());
    EXPECT_EQ(first.masks[i].score, second.masks[i].score);
    EXPECT_GT(first.masks[i].score, 0);
    EXPECT_LE(first.masks[i].score, 1);
  }
}

TEST(MaskCut, RefusesWhatItCannotTake) {
  const Scene scene;
  EXPECT_THROW(maskcut(scene.features, Tensor(), small_options()), Error);
  EXPECT_THROW(maskcut(scene.features, Tensor::zeros({4, 4}, DType::kU8), small_options()), Error);
  EXPECT_THROW(maskcut(scene.features, Tensor::zeros({4, 4, 3}), small_options()), Error);
  EXPECT_THROW(maskcut(Tensor(), scene.image, small_options()), Error);
  MaskCutOptions options = small_options();
  options.size = 0;
  EXPECT_THROW(maskcut(scene.features, scene.image, options), Error);
}

TEST(MaskCut, EveryOutcomeHasAName) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(StageOutcome::kEmpty); ++i) names.insert(name_of(static_cast<StageOutcome>(i)));
  EXPECT_EQ(names.size(), 7u);
}

}  // namespace
}  // namespace usol::maskcut
