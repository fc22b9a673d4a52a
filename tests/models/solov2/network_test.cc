// SOLOv2's and FreeSOLO's network and what is found with it, stage by stage against the public code.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/models/solov2/golden_model.h"
#include "tests/support/op_case.h"
#include "usol/models/describe.h"
#include "usol/models/solov2/finding.h"
#include "usol/models/solov2/levels.h"
#include "usol/models/tta.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/matrix_nms.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr double kStage = 1e-4;

TEST(Solov2, EveryStageIsTheReferences) {
  const GoldenSolov2 golden("solov2");
  const std::vector<Tensor> maps = golden.model.maps(solov2_pictures(), {});
  for (std::size_t l = 0; l < maps.size(); ++l)
    EXPECT_LE(relative_error(maps[l], solov2_at("p" + std::to_string(l + 2))), kStage) << "p" << l + 2;
  const std::vector<Tensor> levels = solov2::instance_levels(maps);
  const std::vector<solov2::Cells> cells = golden.model.ins_head()(levels, {});
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const std::string n = std::to_string(l);
    const bool is_own = l == 0 || l == 4;  // the others are maps as they come
    EXPECT_LE(relative_error(levels[l], is_own ? solov2_at("level_" + n) : maps[l]), is_own ? kStage : 0) << l;
    EXPECT_LE(relative_error(cells[l].categories, solov2_at("cate_" + n)), kStage) << l;
    EXPECT_LE(relative_error(cells[l].kernels, solov2_at("kernel_" + n)), kStage) << l;
  }
  EXPECT_LE(relative_error(golden.model.mask_head()(maps, {}), solov2_at("mask_features")), kStage);
}

TEST(Solov2, CoordinatesRunFromMinusOneToOne) {
  const Tensor c = solov2::coordinates(Tensor::zeros({2, 1, 2, 3}));
  EXPECT_EQ(c.shape(), (Shape{2, 2, 2, 3}));
  EXPECT_EQ(c.select(0, 1).contiguous().to_vector<float>(),
            (std::vector<float>{-1, 0, 1, -1, 0, 1, -1, -1, -1, 1, 1, 1}));
}

TEST(Solov2, ACellStaysWhereItIsTheLargestOfTheFourThatEndAtIt) {
  const Tensor p = Tensor::from<float>({0.5f, 0.25f, 0.25f, 0.75f}, {1, 1, 2, 2});
  EXPECT_EQ(solov2::point_nms(p).to_vector<float>(), (std::vector<float>{0.5f, 0, 0, 0.75f}));
}

TEST(Solov2, MatrixNmsIsTheReferences) {
  const Tensor iou = pairwise_mask_iou(solov2_at("nms_masks"));
  const Tensor decayed = matrix_nms(iou, solov2_at("nms_scores"), solov2_at("nms_classes"));
  EXPECT_LE(relative_error(decayed, solov2_at("nms_decayed")), 1e-6);
}

void expect_found(const std::string& run) {
  const GoldenSolov2 golden(run);
  for (const std::string n : {"0", "1"}) {
    const Tensor picture = solov2_at("picture_" + n);
    const Tensor masks = solov2_at(run + "/found_masks_" + n);
    const auto found = golden.model.detect({picture}, {.most = 12}).front();
    EXPECT_EQ(found.classes.to_vector<std::int64_t>(),
              solov2_at(run + "/found_classes_" + n).to_vector<std::int64_t>());
    ASSERT_EQ(found.size(), masks.size(0));
    EXPECT_LE(relative_error(found.scores, solov2_at(run + "/found_scores_" + n)), kStage);
    const auto ours = full_masks(found, {masks.size(1), masks.size(2)}).to_vector<std::uint8_t>();
    const auto theirs = masks.to_vector<std::uint8_t>();
    std::int64_t other = 0;
    for (std::size_t i = 0; i < theirs.size(); ++i) other += ours[i] != theirs[i];
    // Pixels whose probability is one half within rounding.
    EXPECT_LE(other, 2) << n;
    // Boxes hold their masks' cells in pixels of the network's input.
    const auto boxes = found.boxes.to_vector<float>();
    for (std::int64_t d = 0; d < found.size(); ++d) {
      const float* box = boxes.data() + 4 * d;
      EXPECT_GT(box[2], box[0]);
      EXPECT_GT(box[3], box[1]);
      EXPECT_EQ(std::fmod(box[2], 4), 0);
    }
  }
}

TEST(Solov2, WhatIsFoundIsTheReferences) { expect_found("solov2"); }

// The release's second output has no class here; its cells were rarely good enough there.
TEST(FreeSolo, WhatIsFoundIsTheReferencesWithoutTheSpareOutput) {
  solov2::Config config = golden_solov2_config("freesolo");
  config.classes = 2;
  config.spare_outputs = 0;
  const GoldenSolov2 both("freesolo", config), one("freesolo");
  for (const std::string n : {"0", "1"}) {
    const Tensor picture = solov2_at("picture_" + n);
    const auto found = both.model.detect({picture}, {.most = 12}).front();
    EXPECT_EQ(found.classes.to_vector<std::int64_t>(),
              solov2_at("freesolo/found_classes_" + n).to_vector<std::int64_t>());
    EXPECT_LE(relative_error(found.scores, solov2_at("freesolo/found_scores_" + n)), kStage);
    for (const std::int64_t label : one.model.detect({picture}).front().classes.to_vector<std::int64_t>())
      EXPECT_EQ(label, 0);
  }
}

TEST(Solov2, APictureAloneAndInABatchOfItsSizeAreTheSame) {
  const GoldenSolov2 golden("solov2");
  const Tensor picture = solov2_at("picture_0");
  const auto alone = golden.model.detect({picture}), both = golden.model.detect({picture, picture});
  for (std::size_t n = 0; n < 2; ++n) {
    EXPECT_LE(relative_error(both[n].masks, alone[0].masks), 1e-5);
    EXPECT_LE(relative_error(both[n].scores, alone[0].scores), 1e-5);
  }
}

TEST(Solov2, ThresholdsAndCounts) {
  const GoldenSolov2 golden("solov2");
  const Tensor picture = solov2_at("picture_0");
  const auto all = golden.model.detect({picture}).front();
  const double second = all.scores.select(0, 1).item();
  EXPECT_EQ(golden.model.detect({picture}, {.score = second}).front().size(), 1);
  EXPECT_EQ(golden.model.detect({picture}, {.most = 2}).front().size(), 2);
  const auto none = golden.model.detect({picture}, {.score = 1}).front();
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(full_masks(rescaled(none, {96, 128}, {48, 64}), {48, 64}).shape(), (Shape{0, 48, 64}));
}

TEST(Solov2, TestTimeAugmentationIsRefused) {
  const GoldenSolov2 golden("solov2");
  const Tensor picture = solov2_at("picture_0");
  EXPECT_THROW(detection::detect_augmented(golden.model, {picture}, true, {96, 128}, {}), Error);
  EXPECT_THROW(detection::check_augmentable(golden.model), Error);
}

// A whole mask is stretched to the picture: a quarter of the frame, of which the picture is the left half.
TEST(Solov2, WholeMasksFollowThePicture) {
  Tensor masks = Tensor::zeros({1, 4, 8});
  masks.slice(1, 0, 2).slice(2, 0, 2).fill(1);
  const detection::Detections found{
      Tensor::zeros({1, 4}), Tensor::full({1}, 0.5), Tensor::zeros({1}, DType::kI64), masks, {4, {16, 16}}};
  const auto full = full_masks(found, {8, 8}).to_vector<std::uint8_t>();
  for (std::size_t i = 0; i < full.size(); ++i) EXPECT_EQ(full[i], i / 8 < 4 && i % 8 < 4) << i;
}

TEST(Solov2, PixelsOfBgrNetworks) {
  const Tensor picture = Tensor::from<std::uint8_t>({10, 20, 30}, {1, 1, 3});
  const PixelScale scale{.mean = {1, 2, 3}, .deviation = {1, 2, 4}, .blue_first = true};
  EXPECT_EQ(image_batch("test", {picture}, 1, 0, nullptr, scale).to_vector<float>(), (std::vector<float>{6.75f, 9, 9}));
}

// Published sizes, of names and shapes alone.
StateDict published(const solov2::Config& config) {
  ParamStore store = ParamStore::shapes_only();
  const solov2::Solov2 model(Scope(store), config);
  return store.state_dict();
}

TEST(Solov2, CheckpointsAreRecognised) {
  solov2::Config config;
  config.stores_pixels = false;
  StateDict adelaidets = published(config);
  EXPECT_TRUE(adelaidets.contains("mask_head.convs_all_levels.3.conv2.1.bias"));
  EXPECT_TRUE(adelaidets.contains("ins_head.kernel_tower.10.weight"));
  EXPECT_EQ(adelaidets.at("ins_head.kernel_tower.0.weight").shape(), (Shape{512, 258, 3, 3}));
  Description described = describe_weights(adelaidets);
  EXPECT_EQ(described.architecture, "SOLOv2");
  EXPECT_TRUE(described.missing.empty() && described.unexpected.empty() && described.mismatched.empty());
  auto read = solov2::config_of(adelaidets);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->classes, 80);
  EXPECT_TRUE(read->pixels.blue_first);
  adelaidets.erase("ins_head.cate_pred.bias");
  EXPECT_EQ(describe_weights(adelaidets).missing.size(), 1u);

  config.stores_pixels = true;
  read = solov2::config_of(published(config));
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->pixels.blue_first);

  config.stores_pixels = false;
  config.embedding = 128;
  config.classes = config.spare_outputs = 1;
  StateDict free = published(config);
  free["_iter"] = Tensor::zeros({1});
  described = describe_weights(free);
  EXPECT_EQ(described.architecture, "FreeSOLO (SOLOv2)");
  EXPECT_TRUE(described.unexpected.empty());
  read = solov2::config_of(free);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->classes, 1);
  EXPECT_EQ(read->spare_outputs, 1);
  EXPECT_FALSE(read->pixels.blue_first);
  EXPECT_FALSE(solov2::config_of({{"ins_head.cate_pred.weight", Tensor::zeros({1, 1, 3, 3})}}));
}

// Source: AdelaiDet's NUM_GRIDS, FPN_SCALE_RANGES and FPN_INSTANCE_STRIDES; NMS_PRE.
TEST(Solov2, PublishedLevels) {
  const std::int64_t grids[] = {40, 36, 24, 16, 12}, strides[] = {8, 8, 16, 32, 32};
  const double ranges[][2] = {{1, 96}, {48, 192}, {96, 384}, {192, 768}, {384, 2048}};
  const solov2::Config config;
  for (std::size_t l = 0; l < config.levels.size(); ++l) {
    EXPECT_EQ(config.levels[l].grid, grids[l]);
    EXPECT_EQ(config.levels[l].least_mask, strides[l]);
    EXPECT_EQ(config.levels[l].least_px, ranges[l][0]);
    EXPECT_EQ(config.levels[l].most_px, ranges[l][1]);
  }
  EXPECT_EQ(config.finding.most_before, 500);
}

TEST(Solov2, AFreshNetworkSaysOneInAHundred) {
  ParamStore store(0);
  solov2::Config config = golden_solov2_config("solov2");
  const solov2::Solov2 model(Scope(store), config);
  for (const float bias : store.entries().at("ins_head.cate_pred.bias").tensor.to_vector<float>())
    EXPECT_NEAR(1 / (1 + std::exp(-static_cast<double>(bias))), 0.01, 1e-6);
  double squares = 0;
  const auto weights = store.entries().at("ins_head.kernel_tower.3.weight").tensor.to_vector<float>();
  for (const float w : weights) squares += static_cast<double>(w) * static_cast<double>(w);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(weights.size())), 0.01, 0.001);
}

}  // namespace
}  // namespace usol::test
