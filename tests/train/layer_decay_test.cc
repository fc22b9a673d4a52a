// Rates by layer, as Detectron2 gives them to ViTDet.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/nn/init.h"
#include "usol/tensor/error.h"
#include "usol/train/optimizer.h"

namespace usol {
namespace {

// 0.7 to the power of the layers above: 12 blocks have 13 layers below all else.
TEST(LayerDecay, CountsTheLayersAbove) {
  const auto factor = [](const char* name) { return train::layer_factor(name, 0.7, 12); };
  EXPECT_DOUBLE_EQ(factor("backbone.net.pos_embed"), std::pow(0.7, 13));
  EXPECT_DOUBLE_EQ(factor("backbone.net.patch_embed.proj.bias"), std::pow(0.7, 13));
  EXPECT_DOUBLE_EQ(factor("backbone.net.blocks.0.attn.rel_pos_h"), std::pow(0.7, 12));
  EXPECT_DOUBLE_EQ(factor("backbone.net.blocks.11.mlp.fc2.weight"), 0.7);
  EXPECT_DOUBLE_EQ(factor("backbone.simfp_2.0.weight"), 1);
  EXPECT_DOUBLE_EQ(factor("roi_heads.mask_head.deconv.weight"), 1);
}

TEST(LayerDecay, ScalesTheSteps) {
  ParamStore store;
  const Scope net = Scope(store) / "backbone" / "net";
  std::vector<Tensor> all{net.parameter("pos_embed", {2}, init::zeros())};
  for (const std::int64_t i : {0, 1})
    all.push_back((net / "blocks" / i / "norm1").parameter("weight", {2}, init::zeros()));
  all.push_back((Scope(store) / "roi_heads").parameter("weight", {2}, init::zeros()));
  train::OptimizerOptions options;
  options.momentum = options.weight_decay = options.clip_norm = 0;
  options.layer_decay = 0.5;
  train::Optimizer optimizer(store, options);
  for (const Tensor& t : all) set_grad(t, Tensor::full({2}, 1));
  ASSERT_TRUE(optimizer.step(8));
  const float expected[] = {-1, -2, -4, -8};  // 8 / 2^3 ... 8
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].to_vector<float>()[0], expected[i]) << i;
}

TEST(LayerDecay, NeedsAViT) {
  ParamStore store;
  (Scope(store) / "backbone").parameter("weight", {2}, init::zeros());
  train::OptimizerOptions options;
  options.layer_decay = 0.7;
  EXPECT_THROW(train::Optimizer(store, options), Error);
}

}  // namespace
}  // namespace usol
