// What names and shapes tell: every architecture known here, and sets of tensors that almost are one.
#include "usol/models/describe.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.h"

namespace usol {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

using Tensors = std::map<std::string, Tensor>;

/// Shapes without memory behind them: one element, repeated.
Tensor shaped(const Shape& shape) { return Tensor::zeros({}).expand(shape); }

Tensors vit(std::int64_t width, std::int64_t depth, std::int64_t patch, std::int64_t grid, bool v2 = false,
            bool swiglu = false) {
  Tensors t;
  const std::int64_t hidden = swiglu ? 4096 : 4 * width;
  t["cls_token"] = shaped({1, 1, width});
  t["pos_embed"] = shaped({1, grid * grid + 1, width});
  t["patch_embed.proj.weight"] = shaped({width, 3, patch, patch});
  for (const char* name : {"patch_embed.proj.bias", "norm.weight", "norm.bias"}) t[name] = shaped({width});
  if (v2) t["mask_token"] = shaped({1, width});
  for (std::int64_t i = 0; i < depth; ++i) {
    const std::string b = fmt::format("blocks.{}.", i);
    for (const char* name : {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.proj.bias"}) {
      t[b + name] = shaped({width});
    }
    t[b + "attn.qkv.weight"] = shaped({3 * width, width});
    t[b + "attn.qkv.bias"] = shaped({3 * width});
    t[b + "attn.proj.weight"] = shaped({width, width});
    if (v2) t[b + "ls1.gamma"] = t[b + "ls2.gamma"] = shaped({width});
    t[b + (swiglu ? "mlp.w12.weight" : "mlp.fc1.weight")] = shaped({swiglu ? 2 * hidden : hidden, width});
    t[b + (swiglu ? "mlp.w12.bias" : "mlp.fc1.bias")] = shaped({swiglu ? 2 * hidden : hidden});
    t[b + (swiglu ? "mlp.w3.weight" : "mlp.fc2.weight")] = shaped({width, hidden});
    t[b + (swiglu ? "mlp.w3.bias" : "mlp.fc2.bias")] = shaped({width});
  }
  return t;
}

struct Dinov3Sizes {
  std::int64_t width, depth, heads, hidden;
  bool gated, bias = true, local_norm = false;
};

Tensors dinov3(const Dinov3Sizes& c) {
  Tensors t;
  const std::int64_t d = c.width;
  t["cls_token"] = shaped({1, 1, d});
  t["storage_tokens"] = shaped({1, 4, d});
  t["mask_token"] = shaped({1, d});
  t["rope_embed.periods"] = shaped({d / c.heads / 4});
  t["patch_embed.proj.weight"] = shaped({d, 3, 16, 16});
  for (const char* name : {"patch_embed.proj.bias", "norm.weight", "norm.bias"}) t[name] = shaped({d});
  if (c.local_norm) t["local_cls_norm.weight"] = t["local_cls_norm.bias"] = shaped({d});
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string b = fmt::format("blocks.{}.", i);
    for (const char* name :
         {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.proj.bias", "ls1.gamma", "ls2.gamma"})
      t[b + name] = shaped({d});
    t[b + "attn.qkv.weight"] = shaped({3 * d, d});
    if (c.bias) t[b + "attn.qkv.bias"] = t[b + "attn.qkv.bias_mask"] = shaped({3 * d});
    t[b + "attn.proj.weight"] = shaped({d, d});
    const auto layer = [&](const std::string& name, std::int64_t out, std::int64_t in) {
      t[b + "mlp." + name + ".weight"] = shaped({out, in});
      t[b + "mlp." + name + ".bias"] = shaped({out});
    };
    if (c.gated) layer("w2", c.hidden, d);
    layer(c.gated ? "w1" : "fc1", c.hidden, d);
    layer(c.gated ? "w3" : "fc2", d, c.hidden);
  }
  return t;
}

void expect_complete(const Description& d) {
  EXPECT_THAT(d.missing, IsEmpty());
  EXPECT_THAT(d.mismatched, IsEmpty());
  EXPECT_THAT(d.unexpected, IsEmpty());
}

TEST(Describe, DinoAndDinov2) {
  const Description small = describe_weights(vit(384, 12, 8, 28));
  EXPECT_EQ(small.architecture, "ViT-S/8");
  EXPECT_THAT(small.facts, Contains(Pair("heads", "6")));
  EXPECT_THAT(small.facts, Contains(Pair("grid", "28 x 28 (224 px)")));
  EXPECT_THAT(small.facts, Contains(Pair("family", HasSubstr("DINO (no"))));
  expect_complete(small);

  Tensors giant = vit(1536, 40, 14, 37, true, true);
  giant["register_tokens"] = shaped({1, 4, 1536});
  const Description described = describe_weights(giant);
  EXPECT_EQ(described.architecture, "ViT-g/14 with 4 registers");
  EXPECT_THAT(described.facts, Contains(Pair("registers", "4")));
  EXPECT_THAT(described.facts, Contains(Pair("MLP", "SwiGLU, 4096 hidden")));
  expect_complete(described);
  EXPECT_EQ(describe_weights(vit(128, 2, 4, 3)).architecture, "ViT width 128 depth 2 patch 4");
}

// dinov3, hub/backbones.py, and eupe's.
TEST(Describe, AllSizesOfDinov3) {
  const std::pair<const char*, Dinov3Sizes> sizes[] = {
      {"Ti", {192, 12, 3, 768, false}},   {"S", {384, 12, 6, 1536, false}},
      {"S+", {384, 12, 6, 1536, true}},   {"B", {768, 12, 12, 3072, false}},
      {"L", {1024, 24, 16, 4096, false}}, {"L+", {1024, 24, 16, 4096, true}},
      {"H+", {1280, 32, 20, 5120, true}}, {"7B", {4096, 40, 32, 8192, true, false, true}}};
  for (const auto& [name, size] : sizes) {
    SCOPED_TRACE(name);
    const Description d = describe_weights(dinov3(size));
    EXPECT_EQ(d.architecture, fmt::format("DINOv3 ViT-{}/16 with 4 storage tokens", name));
    EXPECT_THAT(d.facts, Contains(Pair("heads", std::to_string(size.heads))));
    EXPECT_THAT(d.facts,
                Contains(Pair("MLP", fmt::format("{}, {} hidden", size.gated ? "SwiGLU" : "GELU", size.hidden))));
    EXPECT_THAT(d.facts, Contains(Pair("family", HasSubstr("DINOv3"))));
    EXPECT_THAT(d.facts, Not(Contains(Pair("pictures", testing::_))));
    expect_complete(d);
  }
  // The ViT-L of satellite pictures has a norm that the other ViT-L has not.
  const Description satellite = describe_weights(dinov3({1024, 24, 16, 4096, false, true, true}));
  EXPECT_THAT(satellite.facts, Contains(Pair("pictures", HasSubstr("SAT-493M"))));
  expect_complete(satellite);
  Tensors t = dinov3({384, 12, 6, 1536, false});
  t.erase("blocks.11.attn.qkv.bias_mask");
  t["blocks.3.attn.qkv.bias"] = shaped({384});
  t["cls_norm.weight"] = shaped({384});
  const Description d = describe_weights(t);
  EXPECT_THAT(d.missing, ElementsAre("blocks.11.attn.qkv.bias_mask [1152]"));
  EXPECT_THAT(d.mismatched, ElementsAre("blocks.3.attn.qkv.bias: expected [1152], got [384]"));
  EXPECT_THAT(d.unexpected, ElementsAre("cls_norm.weight"));
  t = dinov3({384, 12, 6, 1536, false});
  t["rope_embed.periods"] = shaped({25});  // heads of width 100
  EXPECT_EQ(describe_weights(t).architecture, "");
}

TEST(Describe, WhatDoesNotFitIsNamed) {
  Tensors t = vit(384, 12, 16, 14);
  t.erase("blocks.11.norm2.bias");
  t["blocks.3.attn.qkv.bias"] = shaped({384});
  t["head.weight"] = shaped({1000, 384});
  const Description d = describe_weights(t);
  EXPECT_EQ(d.architecture, "ViT-S/16");
  EXPECT_THAT(d.missing, ElementsAre("blocks.11.norm2.bias [384]"));
  EXPECT_THAT(d.mismatched, ElementsAre("blocks.3.attn.qkv.bias: expected [1152], got [384]"));
  EXPECT_THAT(d.unexpected, ElementsAre("head.weight"));
}

Tensors resnet(const std::string& prefix, bool detectron, std::initializer_list<int> blocks) {
  Tensors t;
  const auto conv_norm = [&](const std::string& conv, const std::string& norm, const Shape& shape) {
    t[prefix + conv + ".weight"] = shaped(shape);
    for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
      t[prefix + norm + part] = shaped({shape[0]});
    }
    if (!detectron) t[prefix + norm + ".num_batches_tracked"] = Tensor::zeros({}, DType::kI64);
  };
  conv_norm(detectron ? "stem.conv1" : "conv1", detectron ? "stem.conv1.norm" : "bn1", {64, 3, 7, 7});
  std::int64_t in = 64, middle = 64;
  int stage = detectron ? 2 : 1;
  for (const int count : blocks) {
    for (int i = 0; i < count; ++i) {
      const std::string b = fmt::format("{}{}.{}.", detectron ? "res" : "layer", stage, i);
      const auto norm = [&](int c) {
        return detectron ? fmt::format("{}conv{}.norm", b, c) : fmt::format("{}bn{}", b, c);
      };
      conv_norm(b + "conv1", norm(1), {middle, in, 1, 1});
      conv_norm(b + "conv2", norm(2), {middle, middle, 3, 3});
      conv_norm(b + "conv3", norm(3), {4 * middle, middle, 1, 1});
      if (i == 0) {
        conv_norm(b + (detectron ? "shortcut" : "downsample.0"), b + (detectron ? "shortcut.norm" : "downsample.1"),
                  {4 * middle, in, 1, 1});
      }
      in = 4 * middle;
    }
    middle *= 2;
    ++stage;
  }
  return t;
}

TEST(Describe, ResnetsOfBothNamings) {
  for (const bool detectron : {false, true}) {
    const Description d = describe_weights(resnet("", detectron, {3, 4, 6, 3}));
    EXPECT_EQ(d.architecture, "ResNet-50");
    EXPECT_THAT(d.facts, Contains(Pair("names", detectron ? "Detectron2's" : "torchvision's")));
    expect_complete(d);
  }
  EXPECT_EQ(describe_weights(resnet("", false, {3, 4, 23, 3})).architecture, "ResNet-101");
  Tensors t = resnet("", false, {3, 4, 6, 3});
  t.erase("layer4.2.bn3.running_var");
  t["fc.weight"] = shaped({1000, 2048});
  const Description d = describe_weights(t);
  EXPECT_THAT(d.missing, ElementsAre("layer4.2.bn3.running_var [2048]"));
  EXPECT_THAT(d.unexpected, ElementsAre("fc.weight"));
}

TEST(Describe, Detectors) {
  Tensors t = resnet("backbone.bottom_up.", true, {3, 4, 6, 3});
  t["backbone.fpn_lateral2.weight"] = shaped({256, 256, 1, 1});
  t["backbone.fpn_lateral2.norm.weight"] = shaped({256});
  for (int k = 0; k < 3; ++k) {
    t[fmt::format("roi_heads.box_predictor.{}.cls_score.weight", k)] = shaped({2, 1024});
    t[fmt::format("roi_heads.box_predictor.{}.bbox_pred.weight", k)] = shaped({4, 1024});
  }
  t["roi_heads.mask_head.predictor.weight"] = shaped({1, 256, 1, 1});
  const Description cascade = describe_weights(t);
  EXPECT_EQ(cascade.architecture, "Cascade Mask R-CNN");
  EXPECT_THAT(cascade.facts, ElementsAre(Pair("cascade stages", "3"), Pair("backbone", "ResNet-50, FPN with norm"),
                                         Pair("classes", "1"), Pair("boxes", "class-agnostic")));

  const Description faster = describe_weights({{"backbone.net.blocks.0.norm1.bias", shaped({4})},
                                               {"backbone.simfp_2.0.weight", shaped({4})},
                                               {"roi_heads.box_predictor.cls_score.weight", shaped({81, 1024})},
                                               {"roi_heads.box_predictor.bbox_pred.weight", shaped({320, 1024})}});
  EXPECT_EQ(faster.architecture, "Faster R-CNN");
  EXPECT_THAT(faster.facts, ElementsAre(Pair("backbone", "ViT with 1 blocks, simple feature pyramid"),
                                        Pair("classes", "80"), Pair("boxes", "one per class")));
}

TEST(Describe, ADetectorOnViTDet) {
  Tensors t = test::load_golden("vitdet_weights.safetensors");
  const Description whole = describe_weights(t);
  EXPECT_EQ(whole.architecture, "Cascade Mask R-CNN");
  EXPECT_THAT(whole.facts,
              Contains(Pair("ViT", "width 16, 2 heads, patch 16, windows of 4 x 4 patches, pictures of 160 px")));
  EXPECT_THAT(whole.facts, Contains(Pair("backbone", "ViT with 8 blocks, simple feature pyramid")));
  expect_complete(whole);
  t.erase("backbone.net.blocks.3.attn.rel_pos_w");
  t["backbone.simfp_5.2.norm.bias"] = shaped({9});
  t["backbone.net.norm.weight"] = shaped({16});
  const Description d = describe_weights(t);
  EXPECT_THAT(d.missing, ElementsAre("backbone.net.blocks.3.attn.rel_pos_w [19, 8]"));
  EXPECT_THAT(d.mismatched, ElementsAre("backbone.simfp_5.2.norm.bias: expected [8], got [9]"));
  EXPECT_THAT(d.unexpected, ElementsAre("backbone.net.norm.weight"));
  // A width that no file of this size holds.
  t["backbone.net.patch_embed.proj.weight"] = shaped({std::int64_t{1} << 40, 3, 16, 16});
  EXPECT_THAT(describe_weights(t).missing, IsEmpty());
}

TEST(Describe, UnknownAndAbsurdTensorsAreNoArchitecture) {
  EXPECT_EQ(describe_weights({}).architecture, "");
  EXPECT_EQ(describe_weights({{"weight", shaped({3})}}).architecture, "");
  Tensors t = vit(384, 1, 16, 14);
  t["patch_embed.proj.weight"] = Tensor::empty({std::int64_t{1} << 60, 3, 0, 16});
  EXPECT_EQ(describe_weights(t).architecture, "");
  t = resnet("", false, {3, 4, 6, 3});
  t["conv1.weight"] = Tensor::empty({std::int64_t{1} << 60, 3, 0, 7});
  EXPECT_EQ(describe_weights(t).architecture, "");
}

}  // namespace
}  // namespace usol
