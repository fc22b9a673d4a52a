// Each stage of inference on the reference's inputs, and the whole.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/models/rcnn/boxes.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/rcnn/roi_pooler.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr double kStage = 1e-4;  // of a stage's result, on the reference's inputs

std::vector<Size> golden_sizes() { return {{96, 128}, {80, 120}}; }

std::vector<Tensor> pyramid(const GoldenRun& run) {
  return {run.at("p2"), run.at("p3"), run.at("p4"), run.at("p5"), run.at("p6")};
}
std::vector<Tensor> for_heads(const GoldenRun& run) { return {run.at("p2"), run.at("p3"), run.at("p4"), run.at("p5")}; }

// Rows 0, 9, 18, ...: what the script kept.
Tensor every_ninth(const Tensor& t) { return t.slice(0, 0, t.size(0), 9); }

// A golden model with the settings of the script, which a state dict does not hold.
struct Golden {
  explicit Golden(const std::string& name)
      : run("test", name),
        store(golden_weights(name), {}, DType::kF32),
        model(Scope(store), golden_config(name == "cascade" ? 3 : 1)) {
    store.load_report().require_ok(name);
  }
  GoldenRun run;
  ParamStore store;
  Rcnn model;
};

struct Inference {
  explicit Inference(const std::string& name) : golden(name) {}
  const NoGrad no_grad;
  Golden golden;
  const GoldenRun& run_ = golden.run;
  const Rcnn& model_ = golden.model;
};

// The stages one by one, recorded for the cascade.
class CascadeInference : public testing::Test, protected Inference {
 protected:
  CascadeInference() : Inference("cascade") {}
};

class RcnnInference : public testing::TestWithParam<const char*>, protected Inference {
 protected:
  RcnnInference() : Inference(GetParam()) {}
};

TEST_F(CascadeInference, FeaturesAndRpn) {
  const std::vector<Tensor> maps = model_.features(model_.preprocess(golden_pictures()), Context{});
  const std::vector<Tensor> expected = pyramid(run_);
  ASSERT_EQ(maps.size(), expected.size());
  for (std::size_t l = 0; l < maps.size(); ++l) EXPECT_LE(relative_error(maps[l], expected[l]), kStage) << "p" << l + 2;
  const rcnn::Rpn::Output output = model_.rpn().predict(expected, Context{});
  for (std::size_t l = 0; l < expected.size(); ++l) {
    EXPECT_LE(relative_error(output.logits[l], run_.at("rpn_logits_" + std::to_string(l))), kStage) << l;
    EXPECT_LE(relative_error(output.deltas[l], run_.at("rpn_deltas_" + std::to_string(l))), kStage) << l;
  }
  const rcnn::Rpn::Output theirs{run_.list("rpn_logits"), run_.list("rpn_deltas")};
  const auto proposals = model_.rpn().proposals(model_.rpn().anchors(expected), theirs, golden_sizes(), false);
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string image = std::to_string(n);
    EXPECT_LE(relative_error(proposals[n].boxes, run_.at("proposals_" + image)), kStage);
    EXPECT_LE(relative_error(proposals[n].logits, run_.at("proposal_logits_" + image)), kStage);
  }
}

TEST_F(CascadeInference, EachStageOfTheHeads) {
  std::vector<Tensor> boxes = run_.list("proposals");
  for (std::int64_t k = 0; k < model_.config().heads.stages; ++k) {
    const std::string stage = "_" + std::to_string(k);
    const Tensor pooled = rcnn::pool_regions(for_heads(run_), boxes, 7, false);
    EXPECT_LE(relative_error(every_ninth(pooled), run_.at("pooled" + stage)), kStage) << k;
    const rcnn::BoxPredictions p = model_.heads().run_stage(for_heads(run_), boxes, k, Context{});
    EXPECT_LE(relative_error(p.logits, run_.at("logits" + stage)), kStage) << k;
    EXPECT_LE(relative_error(p.deltas, run_.at("deltas" + stage)), kStage) << k;
    // The next stage starts from the reference's deltas.
    boxes = model_.heads().decode({run_.at("logits" + stage), run_.at("deltas" + stage)}, boxes, k);
    for (std::size_t n = 0; n < 2; ++n) boxes[n] = rcnn::clip(boxes[n], golden_sizes()[n]);
  }
}

TEST_P(RcnnInference, DetectionsAndMasks) {
  const auto found = model_.detect(golden_pictures(), {.most = 20});
  ASSERT_EQ(found.size(), 2u);
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string image = std::to_string(n);
    EXPECT_LE(relative_error(found[n].boxes, run_.at("detected_boxes_" + image)), kStage);
    EXPECT_LE(relative_error(found[n].scores, run_.at("detected_scores_" + image)), kStage);
    const Tensor masks = run_.at("detected_masks_" + image);
    EXPECT_LE(relative_error(found[n].masks.slice(0, 0, masks.size(0)), masks), kStage);
  }
}

TEST_P(RcnnInference, ResultsInAnotherSize) {
  const Size to{30, 75};
  const auto found = model_.detect({golden_pictures()[1]}, {.most = 20});
  const rcnn::Detections final = rescaled(found[0], golden_sizes()[1], to);
  EXPECT_LE(relative_error(final.boxes, run_.at("final_boxes")), kStage);
  EXPECT_LE(relative_error(final.scores, run_.at("final_scores")), kStage);
  const auto ours = full_masks(final, to).to_vector<std::uint8_t>();
  const auto theirs = run_.at("final_masks").to_vector<std::uint8_t>();
  ASSERT_EQ(ours.size(), theirs.size());
  std::size_t other = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) other += ours[i] != theirs[i];
  EXPECT_LE(other, ours.size() / 10000);  // probabilities within rounding of 0.5
}

INSTANTIATE_TEST_SUITE_P(Cutler, RcnnInference, testing::Values("cascade", "mask"),
                         [](const auto& run) { return run.param; });

TEST(Rcnn, LoadsByNameAndListsWhatDoesNotFit) {
  StateDict state = golden_weights("cascade");
  state["pixel_mean"] = Tensor::zeros({3, 1, 1});  // old Detectron2 files hold these
  state["proposal_generator.anchor_generator.cell_anchors.0"] = Tensor::zeros({3, 4});
  const Rcnn model = Rcnn::from_state(state, "weights.pth");
  EXPECT_EQ(model.config().heads.stages, 3);
  EXPECT_EQ(model.config().heads.box.classes, 1);
  EXPECT_EQ(resnet_config(state, "backbone.bottom_up.")->blocks, (std::array<std::int64_t, 4>{3, 4, 6, 3}));
  EXPECT_EQ(Rcnn::from_state(golden_weights("mask"), "weights.pth").config().heads.stages, 1);
  state.erase("roi_heads.mask_head.deconv.bias");
  state["roi_heads.extra"] = Tensor::zeros({1});
  state["backbone.fpn_output5.weight"] = Tensor::zeros({8, 8, 1, 1});
  try {
    Rcnn::from_state(state, "weights.pth");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "weights.pth: the tensors do not fit the model:\n  missing roi_heads.mask_head.deconv.bias\n"
                 "  unexpected roi_heads.extra\n"
                 "  mismatched backbone.fpn_output5.weight: expected [8, 8, 3, 3], got [8, 8, 1, 1]");
  }
  EXPECT_THROW(Rcnn::from_state({}, "empty.pth"), Error);
}

TEST(Rcnn, NetworkSizeAsDetectron2) {
  const auto expect = [](std::int64_t h, std::int64_t w, std::int64_t out_h, std::int64_t out_w) {
    const Size size = network_size({h, w});
    EXPECT_EQ(size.height, out_h) << h << " x " << w;
    EXPECT_EQ(size.width, out_w) << h << " x " << w;
  };
  expect(480, 640, 800, 1067);
  expect(640, 480, 1067, 800);
  expect(375, 1242, 402, 1333);
  expect(600, 600, 800, 800);
  expect(1, 4000, 1, 1333);
  expect(4000, 3000, 1067, 800);
}

TEST(Rcnn, OddPicturesAndNoDetections) {
  const Rcnn model = Rcnn::from_state(golden_weights("cascade"), "golden");
  for (const Shape& shape : {Shape{1, 37, 3}, Shape{50, 1, 3}, Shape{1, 1, 3}}) {
    const auto found = model.detect({Tensor::full(shape, 100, DType::kU8)});
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].masks.size(0), found[0].boxes.size(0));
  }
  const auto none = model.detect(golden_pictures(), {.score = 1});  // none is that sure
  for (const auto& d : none) {
    EXPECT_EQ(d.boxes.shape(), (Shape{0, 4}));
    EXPECT_EQ(full_masks(rescaled(d, {96, 128}, {10, 12}), {10, 12}).shape(), (Shape{0, 10, 12}));
  }
  // Proposals that are not numbers are dropped, here all of them.
  StateDict broken = golden_weights("cascade");
  for (auto& [name, tensor] : broken)
    if (name == "proposal_generator.rpn_head.anchor_deltas.bias")
      tensor = Tensor::full(tensor.shape(), std::numeric_limits<double>::quiet_NaN());
  for (const auto& d : Rcnn::from_state(broken, "golden").detect(golden_pictures())) EXPECT_EQ(d.size(), 0);
  // Boxes of a pixel and of none are regions like others.
  const Tensor boxes = Tensor::from<float>({0, 0, 1, 1, 127, 95, 128, 96, 5, 5, 5, 5}, {3, 4});
  const std::vector<Tensor> maps = model.features(model.preprocess({golden_pictures()[0]}), Context{});
  auto regions = model.heads().detect_boxes({maps.begin(), maps.end() - 1}, {{boxes, Tensor::zeros({3})}}, {{96, 128}},
                                            {.nms = 1});
  model.heads().add_masks({maps.begin(), maps.end() - 1}, regions);
  EXPECT_EQ(regions[0].size(), 3);
  EXPECT_EQ(regions[0].masks.shape(), (Shape{3, 28, 28}));
  EXPECT_THROW(model.detect({}), Error);
  EXPECT_THROW(model.detect({Tensor::zeros({4, 4}, DType::kU8)}), Error);
}

double rms(const Tensor& t) {
  double sum = 0;
  const auto values = t.to_vector<float>();
  for (const float v : values) sum += double{v} * double{v};
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// As `usol predict --precision bf16`: weights and maps of the network in bf16, boxes and scores in f32.
TEST(Rcnn, InBf16TheSameWithinItsRounding) {
  const NoGrad no_grad;
  const Rcnn wide = Rcnn::from_state(golden_weights("cascade"), "golden");
  const Rcnn narrow = Rcnn::from_state(golden_weights("cascade"), "golden", {}, DType::kBF16);
  const Tensor images = wide.preprocess(golden_pictures());
  const std::vector<Tensor> expected = wide.features(images, Context{});
  const std::vector<Tensor> maps = narrow.features(images.to(DType::kBF16), Context{});
  for (std::size_t l = 0; l < maps.size(); ++l) {
    EXPECT_EQ(maps[l].dtype(), DType::kBF16);
    // Fifty layers of eight channels, each rounding its weights and its maps to 2^-9: up to 2.9e-2 of the maps' size.
    EXPECT_LE(rms(sub(maps[l].to(DType::kF32), expected[l])), 4e-2 * rms(expected[l])) << "p" << l + 2;
  }
  const auto found = narrow.detect(golden_pictures(), {.most = 20}), all = wide.detect(golden_pictures());
  for (std::size_t n = 0; n < found.size(); ++n) {
    EXPECT_EQ(found[n].scores.dtype(), DType::kF32);
    EXPECT_EQ(found[n].boxes.dtype(), DType::kF32);
    // Objects near one another in score may change places; the best of all does not.
    const double best = all[n].scores.select(0, 0).item();
    EXPECT_NEAR(found[n].scores.select(0, 0).item(), best, 2e-2 * best) << n;
    EXPECT_EQ(found[n].masks.shape(), (Shape{20, 28, 28}));
  }
}

TEST(Rcnn, APictureAloneAndInABatchOfItsSizeAreTheSame) {
  const Rcnn model = Rcnn::from_state(golden_weights("cascade"), "golden");
  const Tensor picture = golden_pictures()[0];
  const auto alone = model.detect({picture}), both = model.detect({picture, picture});
  for (std::size_t n = 0; n < 2; ++n) {
    EXPECT_LE(relative_error(both[n].boxes, alone[0].boxes), 1e-5);
    EXPECT_LE(relative_error(both[n].scores, alone[0].scores), 1e-5);
  }
}

}  // namespace
}  // namespace usol::test
