// models/vitdet beside Detectron2's ViTDet project (tests/golden/make_vitdet.py).
#include "models/vitdet.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/grad_mode.h"
#include "autograd/tape.h"
#include "nn/drop_path.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "tensor/error.h"
#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "tests/support/pattern.h"

namespace usol::test {
namespace {

StateDict golden_weights() {  // of the backbone, without "backbone."
  StateDict state;
  for (const auto& [name, tensor] : load_golden("vitdet_weights.safetensors"))
    if (name.starts_with("backbone.")) state[name.substr(9)] = tensor;
  return state;
}

VitDetConfig golden_config() { return vitdet_config(golden_weights(), "").value(); }

TEST(VitDet, SizesAreReadOffTheShapes) {
  const VitDetConfig c = golden_config();
  EXPECT_EQ(c.width, 16);
  EXPECT_EQ(c.depth, 8);
  EXPECT_EQ(c.heads, 2);
  EXPECT_EQ(c.mlp_hidden, 64);
  EXPECT_EQ(c.window, 4);
  EXPECT_EQ(c.global_blocks, (std::vector<std::int64_t>{1, 3, 5, 7}));
  EXPECT_EQ(c.image_px, 160);
  EXPECT_EQ(c.position_grid, 4);
  EXPECT_TRUE(c.position_of_class);
  EXPECT_FALSE(vitdet_config({}, "").has_value());
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
  EXPECT_EQ(vitdet.square_px(), 1024);
  std::string names;
  for (const FeatureSpec& spec : vitdet.outputs()) names += spec.name + " " + std::to_string(spec.stride_px) + " ";
  EXPECT_EQ(names, "p2 4 p3 8 p4 16 p5 32 p6 64 ");
}

// Windows that do not fit the map, and positions resized for its rows but not for its columns. Loading is strict.
TEST(VitDet, MapsAndEveryGradientEqualDetectron2) {
  const auto maps_of = load_golden("vitdet_test.safetensors"), grads_of = load_golden("vitdet_train.safetensors");
  ParamStore store;
  const VitDet vitdet(Scope(store), golden_config());
  store.load(golden_weights()).require_ok("vitdet_weights");
  const Tensor images = pattern({2, 3, 96, 160}, 0);
  Tensor loss = Tensor::zeros({});
  const std::vector<Tensor> maps = vitdet.forward(images, {});
  ASSERT_EQ(maps.size(), 5u);
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const std::string name = "p" + std::to_string(i + 2);
    EXPECT_LE(relative_error(maps[i], maps_of.at("alone/" + name)), 1e-4) << name;
    loss = add(loss, mean(mul(maps[i], pattern(maps[i].shape(), 1 + i))));
  }
  backward(loss);
  for (const auto& [name, entry] : store.entries()) {
    ASSERT_TRUE(grad(entry.tensor).defined()) << name;
    EXPECT_LE(relative_error(grad(entry.tensor), grads_of.at("alone/grad/" + name)), 1e-3) << name;
  }
  const NoGrad no_grad;  // the path of inference
  const std::vector<Tensor> again = vitdet.forward(images, {});
  for (std::size_t i = 0; i < maps.size(); ++i) EXPECT_LE(relative_error(again[i], maps[i]), 1e-5) << i;
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
  EXPECT_EQ(nn::drop_path(x, 0.25, {}).raw(), x.raw());
  EXPECT_THROW(nn::drop_path(x, 0.25, {.training = true}), Error);

  VitDetConfig config = golden_config();
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
  VitDetConfig config = golden_config();
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
