// One training step against the reference: losses, DropLoss weights, every gradient; and losses of ten SGD steps. The
// samplers return what the reference drew.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/rcnn/droploss.h"
#include "usol/models/rcnn/matcher.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

using rcnn::stage_weights;

struct Trained {
  Trained(const std::string& name, const std::string& weights) : run("train", name) {
    const RcnnConfig config =
        golden_config(weights == "cascade" ? 3 : 1, name == "frozen" ? nn::NormKind::kFrozenBn : nn::NormKind::kSyncBn);
    model = std::make_unique<Rcnn>(Scope(store), config);
    store.load(golden_weights(weights)).require_ok(name);
  }
  rcnn::Losses losses(const rcnn::Sampler& sampler, bool second = true) const {
    return model->losses(golden_pictures(), golden_truths(second), sampler, {.training = true});
  }
  GoldenRun run;
  ParamStore store{0};
  std::unique_ptr<Rcnn> model;
};

Tensor total(const rcnn::Losses& losses) {
  Tensor sum;
  for (const auto& [name, loss] : losses) sum = sum.defined() ? add(sum, loss) : loss;
  return sum;
}

void expect_losses(const rcnn::Losses& losses, const GoldenRun& run) {
  for (const auto& [name, loss] : losses) {
    ASSERT_TRUE(run.has(name)) << name;
    EXPECT_NEAR(loss.item(), run.at(name).item(), 1e-5 * std::max(1.0, std::abs(run.at(name).item()))) << name;
  }
}

// Every gradient's largest error, as a share of that gradient's largest value.
void expect_gradients(const Trained& trained) {
  int compared = 0;
  for (const auto& [name, entry] : trained.store.entries()) {
    if (!trained.run.has("grad/" + name)) continue;
    const Tensor expected = trained.run.at("grad/" + name);
    ASSERT_TRUE(grad(entry.tensor).defined()) << name;
    EXPECT_LE(relative_error(grad(entry.tensor), expected), 1e-3) << name;
    ++compared;
  }
  EXPECT_GT(compared, trained.run.has("grad/backbone.fpn_output2.weight") ? 200 : 7);
}

TEST(RcnnTraining, CascadeLossesAndEveryGradient) {
  const Trained t("cascade", "cascade");
  const rcnn::Losses losses = t.losses(t.run.sampler());
  EXPECT_EQ(losses.size(), 9u);
  expect_losses(losses, t.run);
  backward(total(losses));
  expect_gradients(t);
}

TEST(RcnnTraining, OneStageLossesAndGradients) {
  const Trained t("mask", "mask");
  const rcnn::Losses losses = t.losses(t.run.sampler());
  EXPECT_EQ(losses.size(), 5u);
  expect_losses(losses, t.run);
  backward(total(losses));
  expect_gradients(t);
}

// Source: Detectron2's POSITIVE_FRACTION of the region proposals and of the heads, and their batches per picture.
TEST(RcnnTraining, SharesOfPositivesAreDetectron2s) {
  const Trained t("cascade", "cascade");
  std::map<bool, rcnn::SamplerOptions> asked;  // by what is sampled: regions, or the RPN's anchors
  const rcnn::Sampler recorded = t.run.sampler();
  t.losses([&](const Tensor& labels, const rcnn::SamplerOptions& options) {
    asked[options.of_regions] = options;
    return recorded(labels, options);
  });
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[false].positive_fraction, 0.5);
  EXPECT_EQ(asked[false].count, t.model->config().rpn.samples);
  EXPECT_EQ(asked[false].background, rcnn::kNegative);
  EXPECT_EQ(asked[true].positive_fraction, 0.25);
  EXPECT_EQ(asked[true].count, t.model->config().heads.samples);
  EXPECT_EQ(asked[true].background, 1);
}

TEST(RcnnTraining, APictureWithoutObjects) {
  const Trained t("none", "cascade");
  const rcnn::Losses losses = t.losses(t.run.sampler(), false);
  expect_losses(losses, t.run);
}

TEST(RcnnTraining, NoObjectsAtAll) {
  ParamStore store(0);
  const Rcnn model(Scope(store), golden_config(3));
  store.load(golden_weights("cascade")).require_ok("golden");
  Generator generator(5);
  std::vector<rcnn::Truths> truths = golden_truths(false);
  truths[0] = {truths[1].boxes, truths[1].classes, Tensor::zeros({0, 96, 128}, DType::kU8)};
  const rcnn::Losses losses =
      model.losses(golden_pictures(), truths, rcnn::random_sampler(generator), {.training = true});
  EXPECT_EQ(losses.at("loss_mask").item(), 0);
  EXPECT_EQ(losses.at("loss_rpn_loc").item(), 0);
  EXPECT_GT(losses.at("loss_rpn_cls").item(), 0);
  backward(total(losses));
  for (const auto& [name, entry] : store.entries()) {
    if (entry.kind == ParamStore::Kind::kParameter) {
      EXPECT_TRUE(grad(entry.tensor).defined()) << name;
    }
  }
}

TEST(RcnnTraining, NoProposalsAndObjectsOfOnePixel) {
  ParamStore store(0);
  const Rcnn model(Scope(store), golden_config(3));
  store.load(golden_weights("cascade")).require_ok("golden");
  Generator generator(5);
  const rcnn::Sampler sampler = rcnn::random_sampler(generator);
  const Context context{.training = true};
  const std::vector<Size> sizes{{96, 128}, {80, 120}};
  const std::vector<rcnn::Proposals> none(2, {Tensor::zeros({0, 4}), Tensor::zeros({0})});
  std::vector<rcnn::Truths> truths = golden_truths(false);
  truths[0] = truths[1];
  std::vector<Tensor> maps = model.features(model.preprocess(golden_pictures()), context);
  maps.pop_back();
  // No region at all: zeros, which gradients flow through.
  rcnn::Losses losses = model.heads().losses(maps, none, sizes, truths, sampler, context);
  for (const auto& [name, loss] : losses) EXPECT_EQ(loss.item(), 0) << name;
  backward(total(losses));
  std::vector<rcnn::Detections> found = model.heads().detect_boxes(maps, none, sizes, {});
  model.heads().add_masks(maps, found);
  for (const rcnn::Detections& d : found) EXPECT_EQ(d.masks.shape(), (Shape{0, 28, 28}));
  // The truths are proposals too: one of a single pixel.
  Tensor mask = Tensor::zeros({1, 96, 128}, DType::kU8);
  mask.select(0, 0).select(0, 7).select(0, 5).fill(1);
  truths[0] = {Tensor::from<float>({5, 7, 6, 8}, {1, 4}), Tensor::zeros({1}, DType::kI64), mask};
  losses = model.losses(golden_pictures(), truths, sampler, context);
  for (const auto& [name, loss] : losses) EXPECT_TRUE(std::isfinite(loss.item())) << name;
  EXPECT_GT(losses.at("loss_mask").item(), 0);
  backward(total(losses));
  truths[0].masks = {};
  EXPECT_THROW(model.losses(golden_pictures(), truths, sampler, context), Error);
}

TEST(RcnnTraining, LossesOfTenSteps) {
  constexpr double kRate = 0.01;  // as in the script
  const Trained t("frozen", "cascade");
  const rcnn::Sampler sampler = t.run.sampler();
  const Tensor series = t.run.at("series");
  for (std::int64_t step = 0; step < series.size(0); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const rcnn::Losses losses = t.losses(sampler);
    std::int64_t i = 0;  // sorted by name in both
    for (const auto& [name, loss] : losses) {
      const double expected = series.select(0, step).select(0, i++).item();
      EXPECT_NEAR(loss.item(), expected, 1e-3 * std::max(0.1, expected)) << name << " in step " << step;
    }
    backward(total(losses));
    const NoGrad no_grad;
    for (const auto& [name, entry] : t.store.entries()) {
      const Tensor g = grad(entry.tensor);
      if (!g.defined()) continue;
      Tensor parameter = entry.tensor;
      parameter.copy_from(sub(parameter.detach(), affine(g, kRate)));
      set_grad(parameter, {});
    }
  }
}

// The reference's regions and predictions of a stage, picture by picture.
struct Stage {
  std::vector<rcnn::Samples> samples;
  std::vector<Tensor> decoded;
  Tensor boxes, gt_boxes, classes;
};

Stage stage_of(const Trained& t, std::int64_t k) {
  const std::string name = "_" + std::to_string(k);
  const GoldenRun& run = t.run;
  Stage s;
  s.boxes = run.at("boxes" + name);
  s.classes = run.at("gt_classes" + name);
  s.gt_boxes = run.has("gt_boxes" + name) ? run.at("gt_boxes" + name) : Tensor();
  const auto counts = run.at("box_counts" + name).to_vector<std::int64_t>();
  const Tensor decoded =
      t.model->heads().box_heads()[static_cast<std::size_t>(k)].coder().decode(run.at("deltas" + name), s.boxes);
  std::int64_t first = 0;
  for (const std::int64_t count : counts) {
    const auto part = [&](const Tensor& all) { return all.defined() ? all.slice(0, first, first + count) : Tensor(); };
    s.samples.push_back({part(s.boxes), part(s.classes), {}, part(s.gt_boxes)});
    s.decoded.push_back(part(decoded));
    first += count;
  }
  return s;
}

void expect_weights(const std::string& name, const std::string& weights, bool second) {
  const Trained t(name, weights);
  const std::int64_t stages = weights == "cascade" ? 3 : 1;
  for (std::int64_t k = 0; k < stages; ++k) {
    const Stage s = stage_of(t, k);
    const std::string stage = "_" + std::to_string(k);
    const Tensor release = stage_weights({Preset::kRelease, 0.01}, s.samples, s.decoded, golden_truths(second));
    ASSERT_EQ(release.defined(), t.run.has("weights" + stage)) << name << stage;
    if (release.defined()) {
      EXPECT_EQ(release.to_vector<float>(), t.run.at("weights" + stage).to_vector<float>()) << name << stage;
    }
    const Tensor paper = stage_weights({Preset::kPaper, 0.01}, s.samples, s.decoded, golden_truths(second));
    EXPECT_EQ(paper.to_vector<float>(), t.run.at("paper_weights" + stage).to_vector<float>()) << name << stage;
    const rcnn::BoxLosses losses = t.model->heads().box_heads()[static_cast<std::size_t>(k)].losses(
        {t.run.at("logits" + stage), t.run.at("deltas" + stage)}, s.boxes, s.gt_boxes.defined() ? s.gt_boxes : s.boxes,
        s.classes, paper, true);
    EXPECT_NEAR(losses.cls.item(), t.run.at("paper_loss_cls" + stage).item(), 1e-5);
    if (s.gt_boxes.defined()) {
      EXPECT_NEAR(losses.reg.item(), t.run.at("paper_loss_box_reg" + stage).item(), 1e-5);
    }
  }
  EXPECT_FALSE(stage_weights(rcnn::DropLoss{}, {}, {}, {}).defined());
}

TEST(DropLoss, WeightsAreExactlyTheReferencesInBothPresets) {
  expect_weights("cascade", "cascade", true);
  expect_weights("mask", "mask", true);
}

TEST(DropLoss, WithAPictureWithoutTruths) { expect_weights("none", "cascade", false); }

TEST(RcnnTraining, PaperPresetTrains) {
  const Trained t("cascade", "cascade");
  ParamStore store(0);
  RcnnConfig config = golden_config(3);
  config.heads.droploss.preset = Preset::kPaper;
  const Rcnn model(Scope(store), config);
  store.load(golden_weights("cascade")).require_ok("golden");
  const rcnn::Losses losses = model.losses(golden_pictures(), golden_truths(), t.run.sampler(), {.training = true});
  // The first stage's regions are the reference's whatever the preset.
  EXPECT_NEAR(losses.at("loss_cls_stage0").item(), t.run.at("paper_loss_cls_0").item(), 1e-5);
  EXPECT_NEAR(losses.at("loss_box_reg_stage0").item(), t.run.at("paper_loss_box_reg_0").item(), 1e-5);
}

TEST(RcnnTraining, DivergenceIsAnError) {
  ParamStore store(0);
  const Rcnn model(Scope(store), golden_config(3));
  StateDict state = golden_weights("cascade");
  state["proposal_generator.rpn_head.anchor_deltas.bias"] =
      Tensor::full({12}, std::numeric_limits<double>::quiet_NaN());
  store.load(state).require_ok("golden");
  Generator generator(1);
  EXPECT_THROW(model.losses(golden_pictures(), golden_truths(), rcnn::random_sampler(generator), {.training = true}),
               Error);
}

TEST(RcnnTraining, TheSameSeedGivesTheSameBits) {
  const auto run = [] {
    ParamStore store(3);
    const Rcnn model(Scope(store), golden_config(3));
    Generator generator(8);
    const rcnn::Losses losses =
        model.losses(golden_pictures(), golden_truths(), rcnn::random_sampler(generator), {.training = true});
    backward(total(losses));
    std::vector<float> bits;
    for (const auto& [name, loss] : losses) bits.push_back(static_cast<float>(loss.item()));
    for (const auto& [name, entry] : store.entries()) {
      if (!grad(entry.tensor).defined()) continue;
      const auto values = grad(entry.tensor).to_vector<float>();
      bits.insert(bits.end(), values.begin(), values.end());
    }
    return bits;
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace usol::test
