// Test-time augmentation beside Detectron2's own class (tests/golden/make_tta.py).
#include "usol/models/tta.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/op_case.h"
#include "usol/io/resize.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr double kWhole = 1e-4;

// The picture with these short sides, the long one at most 160: what the script chose.
std::vector<Tensor> views_of(const Tensor& picture, const std::vector<std::int64_t>& short_sides) {
  std::vector<Tensor> views;
  for (const std::int64_t side : short_sides) {
    const Size size = network_size({picture.size(0), picture.size(1)}, side, 160);
    views.push_back(resize(picture, size.height, size.width, io::Filter::kBilinear));
  }
  return views;
}

struct GoldenDetector {
  explicit GoldenDetector(const std::string& run)
      : vitdet(run == "vitdet"),
        store(vitdet ? golden_vitdet_weights() : golden_weights(run), {}, DType::kF32),
        model(Scope(store), vitdet ? golden_vitdet_config() : golden_config(run == "cascade" ? 3 : 1)) {
    store.load_report().require_ok(run);
  }
  bool vitdet;
  ParamStore store;
  Rcnn model;
};

class TestTimeAugmentation : public testing::TestWithParam<const char*> {};

TEST_P(TestTimeAugmentation, EqualsDetectron2s) {
  const GoldenDetector detector(GetParam());
  const GoldenRun golden("tta", GetParam(), "");
  const std::vector<Size> sizes{{96, 128}, {100, 170}};
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string image = "_" + std::to_string(n);
    const auto found = detection::detect_augmented(detector.model, views_of(golden_pictures()[n], {64, 88, 120}), true,
                                                   sizes[n], {.most = 20});
    const Tensor masks = golden.at("masks" + image), areas = golden.at("areas" + image);
    ASSERT_EQ(found.size(), areas.size(0)) << n;
    EXPECT_LE(relative_error(found.boxes, golden.at("boxes" + image)), kWhole) << n;
    EXPECT_LE(relative_error(found.scores, golden.at("scores" + image)), kWhole) << n;
    EXPECT_LE(relative_error(found.masks.slice(0, 0, masks.size(0)), masks), kWhole) << n;
    // Pasted into the picture.
    const rcnn::Detections final = rescaled(found, sizes[n], sizes[n]);
    ASSERT_EQ(final.size(), found.size());
    const Tensor full = full_masks(final, sizes[n]);
    for (std::int64_t i = 0; i < final.size(); ++i) {
      std::int64_t area = 0;
      for (const std::uint8_t v : full.select(0, i).to_vector<std::uint8_t>()) area += v;
      EXPECT_NEAR(static_cast<double>(area), areas.select(0, i).item(), 2) << n << " " << i;  // within rounding of 0.5
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Detectors, TestTimeAugmentation, testing::Values("cascade", "mask", "vitdet"),
                         [](const auto& run) { return run.param; });

TEST(TestTimeAugmentation, OneViewAtThePicturesSizeIsPlainDetection) {
  const GoldenDetector detector("cascade");
  const Tensor picture = golden_pictures()[0];
  const auto plain = detector.model.detect({picture}, {.most = 20}).front();
  const auto same = detection::detect_augmented(detector.model, {picture}, false, {96, 128}, {.most = 20});
  EXPECT_EQ(relative_error(same.boxes, plain.boxes), 0);
  EXPECT_EQ(relative_error(same.scores, plain.scores), 0);
  EXPECT_EQ(relative_error(same.masks, plain.masks), 0);
}

TEST(TestTimeAugmentation, TheOrderOfViewsWithinABatchDoesNotMatter) {
  const GoldenDetector detector("mask");
  std::vector<Tensor> views = views_of(golden_pictures()[0], {64, 88, 120});
  const auto found = detection::detect_augmented(detector.model, views, false, {96, 128}, {.most = 20});
  std::swap(views[0], views[2]);
  const auto other = detection::detect_augmented(detector.model, views, false, {96, 128}, {.most = 20});
  EXPECT_LE(relative_error(other.boxes, found.boxes), 1e-6);
  EXPECT_LE(relative_error(other.masks, found.masks), 1e-5);
}

TEST(TestTimeAugmentation, NothingFoundAndNoViews) {
  const GoldenDetector detector("cascade");
  const auto none = detection::detect_augmented(detector.model, {golden_pictures()[0]}, true, {50, 60}, {.score = 1});
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(full_masks(rescaled(none, {50, 60}, {50, 60}), {50, 60}).shape(), (Shape{0, 50, 60}));
  EXPECT_THROW(detection::detect_augmented(detector.model, {}, true, {50, 60}, {}), Error);
}

}  // namespace
}  // namespace usol::test
