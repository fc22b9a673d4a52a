// models/vitdet and the detector on it beside Detectron2's ViTDet project (tests/golden/make_vitdet.py).
#include "usol/models/vitdet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "tests/support/pattern.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/rcnn/sampler.h"
#include "usol/nn/drop_path.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr double kStage = 1e-4;

struct GoldenVitDet {
  explicit GoldenVitDet(const std::string& file, const std::string& name = "whole")
      : run(file, name, "vitdet_"), model(Scope(store), golden_vitdet_config()) {
    store.load(golden_vitdet_weights()).require_ok("vitdet_weights");
  }
  GoldenRun run;
  ParamStore store{0};
  Rcnn model;
};

void expect_gradients(const ParamStore& store, const GoldenRun& run, const std::string& prefix) {
  std::size_t compared = 0;
  for (const auto& [name, entry] : store.entries()) {
    if (!name.starts_with(prefix)) continue;
    ASSERT_TRUE(grad(entry.tensor).defined()) << name;
    EXPECT_LE(relative_error(grad(entry.tensor), run.at("grad/" + name.substr(prefix.size()))), 1e-3) << name;
    ++compared;
  }
  EXPECT_GT(compared, 100u);
}

TEST(VitDet, SizesAreReadOffTheShapes) {
  const RcnnConfig c = golden_vitdet_config();
  const VitDetConfig v = golden_vitdet();
  EXPECT_EQ(v.width, 16);
  EXPECT_EQ(v.depth, 8);
  EXPECT_EQ(v.heads, 2);
  EXPECT_EQ(v.mlp_hidden, 64);
  EXPECT_EQ(v.window, 4);
  EXPECT_EQ(v.global_blocks, (std::vector<std::int64_t>{1, 3, 5, 7}));
  EXPECT_EQ(v.image_px, 160);
  EXPECT_EQ(v.position_grid, 4);
  EXPECT_TRUE(v.position_of_class);
  EXPECT_EQ(c.heads.stages, 3);
  EXPECT_EQ(c.heads.box.convolutions, 4);
  EXPECT_EQ(c.heads.box.fully_connected, 1);
  EXPECT_EQ(c.rpn.convolutions, 2);
  EXPECT_EQ(c.heads.mask->norm, nn::NormKind::kLn);
}

TEST(VitDet, TheDefaultsAreDetectron2sViTB) {
  ParamStore store;
  VitDetConfig config;
  config.width = 24;  // the names are the same, and there is less to fill
  config.mlp_hidden = 96;
  config.channels = 8;
  const VitDet vitdet(Scope(store), config);
  const auto shape = [&](const std::string& name) { return to_string(store.entries().at(name).tensor.shape()); };
  EXPECT_EQ(shape("net.pos_embed"), "[1, 197, 24]");
  EXPECT_EQ(shape("net.blocks.0.attn.rel_pos_h"), "[27, 2]");
  EXPECT_EQ(shape("net.blocks.11.attn.rel_pos_w"), "[127, 2]");
  EXPECT_EQ(shape("simfp_2.0.weight"), "[24, 12, 2, 2]");
  EXPECT_EQ(shape("simfp_5.2.norm.bias"), "[8]");
  EXPECT_EQ(vitdet.size_divisibility_px(), 32);
  std::string names;
  for (const FeatureSpec& spec : vitdet.outputs()) names += spec.name + " " + std::to_string(spec.stride_px) + " ";
  EXPECT_EQ(names, "p2 4 p3 8 p4 16 p5 32 p6 64 ");
}

// Windows that do not fit the map, and positions resized for its rows but not for its columns.
TEST(VitDet, BackboneOnPicturesThatAreNotSquare) {
  const GoldenVitDet golden("test", "alone"), training("train", "alone");
  const Tensor images = pattern({2, 3, 96, 160}, 0);
  Tensor loss = Tensor::zeros({});
  const std::vector<Tensor> maps = golden.model.features(images, {});
  ASSERT_EQ(maps.size(), 5u);
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const std::string name = "p" + std::to_string(i + 2);
    EXPECT_LE(relative_error(maps[i], golden.run.at(name)), kStage) << name;
    loss = add(loss, mean(mul(maps[i], pattern(maps[i].shape(), 1 + i))));
  }
  backward(loss);
  expect_gradients(golden.store, training.run, "backbone.");
}

TEST(VitDet, EveryStageOfInference) {
  const NoGrad no_grad;
  const GoldenVitDet golden("test");
  const Rcnn& model = golden.model;
  const Tensor images = model.preprocess(golden_pictures());
  EXPECT_EQ(images.shape(), (Shape{2, 3, 160, 160}));
  const std::vector<Tensor> maps = model.features(images, {});
  std::vector<Tensor> theirs;
  for (std::size_t l = 0; l < maps.size(); ++l) {
    theirs.push_back(golden.run.at("p" + std::to_string(l + 2)));
    EXPECT_LE(relative_error(maps[l], theirs.back()), kStage) << "p" << l + 2;
  }
  const rcnn::Rpn::Output output = model.rpn().predict(theirs, {});
  for (std::size_t l = 0; l < theirs.size(); ++l)
    EXPECT_LE(relative_error(output.logits[l], golden.run.at("rpn_logits_" + std::to_string(l))), kStage) << l;
  const std::vector<Size> sizes{{96, 128}, {80, 120}};
  const auto proposals = model.rpn().proposals(model.rpn().anchors(theirs), output, sizes, false);
  std::vector<Tensor> boxes = golden.run.list("proposals");
  for (std::size_t n = 0; n < 2; ++n) EXPECT_LE(relative_error(proposals[n].boxes, boxes[n]), kStage) << n;
  theirs.pop_back();
  for (std::int64_t k = 0; k < 3; ++k) {
    const std::string stage = "_" + std::to_string(k);
    const rcnn::BoxPredictions p = model.heads().run_stage(theirs, boxes, k, {});
    EXPECT_LE(relative_error(p.logits, golden.run.at("logits" + stage)), kStage) << k;
    EXPECT_LE(relative_error(p.deltas, golden.run.at("deltas" + stage)), kStage) << k;
    boxes = model.heads().decode({golden.run.at("logits" + stage), golden.run.at("deltas" + stage)}, boxes, k);
    for (std::size_t n = 0; n < 2; ++n) boxes[n] = rcnn::clip(boxes[n], sizes[n]);
  }
  const auto found = model.detect(golden_pictures(), {.most = 20});
  std::vector<rcnn::Detections> same;  // the reference's boxes, of which the masks are the last stage
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string image = "_" + std::to_string(n);
    const Tensor expected = golden.run.at("detected_boxes" + image);
    EXPECT_LE(relative_error(found[n].boxes, expected), kStage) << n;
    EXPECT_LE(relative_error(found[n].scores, golden.run.at("detected_scores" + image)), kStage) << n;
    same.push_back({expected, found[n].scores, Tensor::zeros({expected.size(0)}, DType::kI64), {}});
  }
  model.heads().add_masks(theirs, same);
  for (std::size_t n = 0; n < 2; ++n) {
    const Tensor expected = golden.run.at("detected_masks_" + std::to_string(n));
    EXPECT_LE(relative_error(same[n].masks.slice(0, 0, 6), expected), kStage) << n;
  }
}

TEST(VitDet, LossesAndEveryGradient) {
  const GoldenVitDet golden("train");
  const rcnn::Losses losses =
      golden.model.losses(golden_pictures(), golden_truths(), golden.run.sampler(), {.training = true});
  EXPECT_EQ(losses.size(), 9u);
  Tensor total;
  for (const auto& [name, loss] : losses) {
    const double expected = golden.run.at(name).item();
    EXPECT_NEAR(loss.item(), expected, 1e-5 * std::max(1.0, std::abs(expected))) << name;
    total = total.defined() ? add(total, loss) : loss;
  }
  backward(total);
  expect_gradients(golden.store, golden.run, "");
}

// As `usol train --precision bf16`: maps and products of 16 bits, weights, boxes and losses f32. All anchors and
// regions are sampled, so that both formats have the same ones but for proposals near a threshold.
TEST(VitDet, SixteenBitLossesFollowThoseOfF32) {
  RcnnConfig config = golden_vitdet_config();
  config.rpn.samples = config.heads.samples = 100000;
  std::map<DType, std::map<std::string, double>> losses;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    ParamStore store{0};
    const Rcnn model(Scope(store), config);
    store.load(golden_vitdet_weights()).require_ok("vitdet_weights");
    const rcnn::Losses all = model.losses(golden_pictures(), golden_truths(), rcnn::random_sampler(Generator(1)),
                                          {.training = true, .dtype = dtype});
    Tensor total;
    for (const auto& [name, loss] : all) {
      EXPECT_EQ(loss.dtype(), DType::kF32) << name;
      losses[dtype][name] = loss.item();
      total = total.defined() ? add(total, loss) : loss;
    }
    backward(total);
    for (const auto& [name, entry] : store.entries()) {
      const Tensor gradient = grad(entry.tensor);
      ASSERT_TRUE(gradient.defined()) << name;
      EXPECT_EQ(gradient.dtype(), DType::kF32) << name;
      EXPECT_TRUE(std::isfinite(sum(abs(gradient)).item())) << name;
    }
  }
  for (const auto& [name, expected] : losses[DType::kF32]) {
    EXPECT_NEAR(losses[DType::kBF16][name], expected, 1e-1 * expected) << name;  // a cascade chooses regions by overlap
    EXPECT_NEAR(losses[DType::kF16][name], expected, 2e-2 * expected) << name;
    EXPECT_NE(losses[DType::kBF16][name], expected) << name;  // else it was not used
  }
}

TEST(VitDet, LoadsWholeAndStrictly) {
  const Rcnn model = Rcnn::from_state(load_golden("vitdet_weights.safetensors"), "golden");
  EXPECT_EQ(model.info().name, "Cascade Mask R-CNN on ViTDet");
  EXPECT_EQ(model.info().long_px, 160);
  StateDict state = golden_vitdet_weights();
  state.erase("backbone.net.blocks.3.attn.rel_pos_w");
  try {
    Rcnn::from_state(state, "golden");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("backbone.net.blocks.3.attn.rel_pos_w"), std::string::npos) << e.what();
  }
}

// What a picture loses beyond the square is nothing: it is padded to multiples of 32 then.
TEST(VitDet, PicturesLargerThanTheSquare) {
  const NoGrad no_grad;
  const GoldenVitDet golden("test");
  const Tensor picture = Tensor::zeros({100, 170, 3}, DType::kU8);
  EXPECT_EQ(golden.model.preprocess({picture}).shape(), (Shape{1, 3, 160, 192}));
}

TEST(VitDet, DropPathLeavesWholePicturesOutAndKeepsTheMean) {
  const Tensor x = Tensor::full({4000, 2, 3}, 1);
  Generator generator(3);
  const Tensor y = nn::drop_path(x, 0.25, {.training = true, .rng = &generator});
  const auto values = y.to_vector<float>();
  int kept = 0;
  for (std::size_t n = 0; n < 4000; ++n) {
    kept += values[6 * n] != 0;
    for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(values[6 * n + i], values[6 * n] != 0 ? 4.0f / 3 : 0.0f);
  }
  EXPECT_NEAR(kept, 3000, 4 * std::sqrt(4000 * 0.25 * 0.75));
  // Shares of the batch draw what the whole one draws, in the next layer too.
  const Tensor next = nn::drop_path(x, 0.25, {.training = true, .rng = &generator});
  EXPECT_NE(next.to_vector<float>(), values);
  for (const std::int64_t first : {0, 1500}) {
    Generator again(3);
    again.set_position(nn::drop_path_start(first));
    const Context share{.training = true, .rng = &again};
    for (const Tensor& whole : {y, next})
      EXPECT_EQ(nn::drop_path(x.slice(0, first, first + 2500), 0.25, share).to_vector<float>(),
                whole.slice(0, first, first + 2500).to_vector<float>());
  }
  EXPECT_EQ(nn::drop_path(x, 0.25, {}).raw(), x.raw());
  EXPECT_THROW(nn::drop_path(x, 0.25, {.training = true}), Error);

  VitDetConfig config = golden_vitdet();
  config.drop_path = 0.5;
  ParamStore store;
  const VitDet vitdet(Scope(store), config);
  const Tensor images = pattern({2, 3, 64, 64}, 0);
  Generator a(1), b(1), c(2);
  const auto run = [&](Generator& g) { return vitdet.forward(images, {.training = true, .rng = &g})[2]; };
  const Tensor first = run(a);
  EXPECT_EQ(relative_error(first, run(b)), 0);
  EXPECT_GT(relative_error(first, run(c)), 0);
}

TEST(VitDet, Errors) {
  EXPECT_THROW(evenly_spaced_global_blocks(6), Error);
  EXPECT_EQ(evenly_spaced_global_blocks(24), (std::vector<std::int64_t>{5, 11, 17, 23}));
  VitDetConfig config = golden_vitdet();
  ParamStore store;
  const VitDet vitdet(Scope(store), config);
  EXPECT_THROW(vitdet.forward(Tensor::zeros({1, 3, 48, 64}), {}), Error);
  EXPECT_THROW(vitdet.forward(Tensor::zeros({1, 4, 64, 64}), {}), Error);
  config.heads = 3;
  ParamStore other;
  EXPECT_THROW(VitDet(Scope(other), config), Error);
}

}  // namespace
}  // namespace usol::test
