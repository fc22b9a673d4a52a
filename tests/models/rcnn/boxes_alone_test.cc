// Detectors without a mask head, against Detectron2's (tests/golden/make_faster_rcnn.py): Faster R-CNN on a feature
// pyramid with a box for each class, and on C4 with LOST's norm behind res5.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/describe.h"
#include "usol/models/rcnn/describe.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/rcnn/settings.h"
#include "usol/models/resnet_c4.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"
#include "usol/train/start_from.h"

namespace usol::test {
namespace {

constexpr std::int64_t kClasses = 3;

// What the script chose for both.
void use_small_numbers(RcnnConfig& c) {
  c.rpn.samples = 32;
  c.rpn.pre_nms_train = 60;
  c.rpn.post_nms_train = 100;
  c.rpn.pre_nms_test = 150;
  c.rpn.post_nms_test = 100;
  c.heads.samples = 48;
}

RcnnConfig config_of(const std::string& run) {
  RcnnConfig c;
  if (run == "faster") {
    c = golden_config(1);
    c.heads.mask.reset();
    c.heads.droploss = {};
    c.heads.box.classes = kClasses;
    c.heads.box.class_agnostic = false;
  } else {
    ResNetConfig resnet;
    resnet.stem_channels = 4;
    resnet.res2_channels = 8;
    resnet.width_per_group = 2;
    resnet.freeze_at = 2;
    if (run == "c4_frozen") resnet.norm = nn::NormKind::kFrozenBn;
    c = c4_config(resnet, true, kClasses);
  }
  use_small_numbers(c);
  return c;
}

StateDict weights_of(const std::string& run) {
  StateDict state;
  if (run == "faster") {
    state = golden_weights("mask");
    std::erase_if(state, [](const auto& entry) { return entry.first.starts_with("roi_heads.mask_head."); });
  }
  const std::string start = (run == "faster" ? run : "c4") + "/w/";
  for (const auto& [name, tensor] : load_golden("faster_rcnn.safetensors"))
    if (name.starts_with(start)) state[name.substr(start.size())] = tensor.to(DType::kF32);
  return state;
}

std::vector<rcnn::Truths> truths_with_classes() {
  std::vector<rcnn::Truths> truths = golden_truths();
  truths[0].classes = Tensor::from<std::int64_t>({0, 2, 1}, {3});
  truths[1].classes = Tensor::from<std::int64_t>({2}, {1});
  for (rcnn::Truths& t : truths) t.masks = {};
  return truths;
}

class BoxesAlone : public testing::TestWithParam<const char*> {
 protected:
  BoxesAlone() : run_("", GetParam(), "faster_rcnn") {
    model_ = std::make_unique<Rcnn>(Scope(store_), config_of(GetParam()));
    store_.load(weights_of(GetParam())).require_ok(GetParam());
  }
  // C4's freeze-at 2.
  static bool is_frozen(const std::string& name) {
    return name.starts_with("backbone.res2.") || name.starts_with("backbone.stem.");
  }
  GoldenRun run_;
  ParamStore store_{0};
  std::unique_ptr<Rcnn> model_;
};

// On C4 also with frozen norms: the script says why.
class BoxesAloneTraining : public BoxesAlone {};

TEST_P(BoxesAloneTraining, LossesAndGradients) {
  const rcnn::Losses losses =
      model_->losses(golden_pictures(), truths_with_classes(), run_.sampler(), {.training = true});
  EXPECT_EQ(losses.size(), 4u);
  Tensor total;
  for (const auto& [name, loss] : losses) {
    const double expected = run_.at(name).item();
    EXPECT_NEAR(loss.item(), expected, 1e-5 * std::max(1.0, std::abs(expected))) << name;
    total = total.defined() ? add(total, loss) : loss;
  }
  backward(total);
  int compared = 0;
  for (const auto& [name, entry] : store_.entries()) {
    if (is_frozen(name)) {
      EXPECT_FALSE(grad(entry.tensor).defined()) << name;
    }
    if (!run_.has("grad/" + name)) continue;
    ASSERT_TRUE(grad(entry.tensor).defined()) << name;
    EXPECT_LE(relative_error(grad(entry.tensor), run_.at("grad/" + name)), 1e-3) << name;
    ++compared;
  }
  EXPECT_GT(compared, GetParam() == std::string("c4") ? 8 : 30);
}

TEST_P(BoxesAlone, Detections) {
  const NoGrad no_grad;
  const double nms = GetParam() == std::string("c4") ? 0.4 : 0.5;
  const auto found = model_->detect(golden_pictures(), {.nms = nms, .most = 20});
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string image = std::to_string(n);
    EXPECT_EQ(found[n].classes.to_vector<std::int64_t>(),
              run_.at("detected_classes_" + image).to_vector<std::int64_t>());
    EXPECT_LE(relative_error(found[n].scores, run_.at("detected_scores_" + image)), 1e-4);
    EXPECT_LE(relative_error(found[n].boxes, run_.at("detected_boxes_" + image)), 1e-4);
    EXPECT_FALSE(found[n].masks.defined());
  }
}

TEST_P(BoxesAlone, IsRecognisedByItsWeights) {
  const StateDict state = weights_of(GetParam());
  const auto config = rcnn_config(state);
  ASSERT_TRUE(config.has_value());
  EXPECT_FALSE(config->heads.mask.has_value());
  EXPECT_EQ(config->heads.box.classes, kClasses);
  EXPECT_FALSE(config->heads.box.class_agnostic);
  EXPECT_EQ(config->heads.box.res5.has_value(), GetParam() != std::string("faster"));
  const auto model = load_detector(state, "golden");
  EXPECT_EQ(model->info().name, GetParam() == std::string("faster") ? "Faster R-CNN" : "Faster R-CNN on ResNet C4");
  EXPECT_FALSE(model->info().masks);
  const auto about = rcnn::describe(state);
  ASSERT_TRUE(about.has_value());
  EXPECT_EQ(about->architecture, "Faster R-CNN");
  EXPECT_EQ(model->detect(golden_pictures())[0].masks.defined(), false);
}

// Precise batch norm runs every norm, res5's too.
TEST_P(BoxesAlone, RunsAllNorms) {
  nn::NormStatistics statistics;
  model_->run_norms(golden_pictures(), {.training = true, .statistics = &statistics});
  const auto norms = std::count_if(store_.names().begin(), store_.names().end(), [&](const std::string& name) {
    return name.ends_with(".running_mean") && !is_frozen(name);
  });
  EXPECT_EQ(statistics.size(), norms);
}

INSTANTIATE_TEST_SUITE_P(Faster, BoxesAloneTraining, testing::Values("faster", "c4", "c4_frozen"),
                         [](const auto& run) { return run.param; });
INSTANTIATE_TEST_SUITE_P(Faster, BoxesAlone, testing::Values("faster", "c4"),
                         [](const auto& run) { return run.param; });

// A ResNet's file (DINO's, under torchvision's names) fills C4's backbone and the res5 of its heads.
TEST(C4, StartsFromAResNet) {
  StateDict resnet;
  for (auto& [name, tensor] : weights_of("c4")) {
    if (name.starts_with("backbone.")) resnet[name.substr(9)] = tensor;
    if (name.starts_with("roi_heads.res5.") && !name.starts_with("roi_heads.res5.norm."))
      resnet[name.substr(10)] = tensor;
  }
  ParamStore store(0);
  const Rcnn model(Scope(store), config_of("c4"));
  const train::StartReport report = train::start_from(store, resnet, "resnet.pth");
  EXPECT_EQ(report.loaded.size(), resnet.size());
  EXPECT_TRUE(report.unused.empty());
  for (const std::string& name : report.fresh)
    EXPECT_FALSE(name.starts_with("backbone.") || name.starts_with("roi_heads.res5.0.")) << name;
}

TEST(C4, AnchorsOfAllSizesAtAPlace) {
  ParamStore store(0);
  const Rcnn model(Scope(store), config_of("c4"));
  const Tensor anchors = model.rpn().anchors({Tensor::zeros({1, 32, 2, 3})})[0];
  ASSERT_EQ(anchors.shape(), (Shape{2 * 3 * 15, 4}));
  const auto a = anchors.to_vector<float>();
  // Sizes 32, 64, ... 512, each in three ratios; the square ones are the second of each.
  EXPECT_EQ(std::vector<float>(a.begin() + 4, a.begin() + 8), (std::vector<float>{-16, -16, 16, 16}));
  EXPECT_EQ(std::vector<float>(a.begin() + 52, a.begin() + 56), (std::vector<float>{-256, -256, 256, 256}));
  EXPECT_EQ(std::vector<float>(a.begin() + 64, a.begin() + 68), (std::vector<float>{0, -16, 32, 16}));
}

TEST(RcnnSettings, WhatGoesTogether) {
  RcnnSettings settings;
  settings.mask_head = "off";
  EXPECT_FALSE(settings.learns_masks());
  EXPECT_NO_THROW(settings.make({.classes = 2}));
  settings.box_of = "class";
  EXPECT_THROW(settings.make({.classes = 2}), Error);  // a cascade
  settings.stages = 1;
  EXPECT_THROW(settings.make({.classes = 2}), Error);  // DropLoss
  settings.droploss = false;
  EXPECT_NO_THROW(settings.make({.classes = 2}));
  settings.backbone.name = "resnet-c4";
  EXPECT_NO_THROW(settings.make({.classes = 2}));
  settings.mask_head = "on";
  EXPECT_THROW(settings.make({.classes = 2}), Error);
}

}  // namespace
}  // namespace usol::test
