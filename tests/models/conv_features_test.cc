// Convolutional networks as patch backbones, in their published layouts, held to what DINOv3's code, transformers, timm
// and torchvision compute with the same numbers (tests/golden/make_conv_features.py).
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/made_up_weights.h"
#include "tests/support/op_case.h"
#include "tests/support/temp_dir.h"
#include "usol/io/checkpoint.h"
#include "usol/io/safetensors.h"
#include "usol/models/convnext.h"
#include "usol/models/describe.h"
#include "usol/models/resnet_patches.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kBundle = "conv_features.bin";

io::Checkpoint read(const StateDict& file, bool resnet_as_detectron2 = true) {
  const TempDir dir;
  io::save_safetensors(dir / "a.safetensors", file);
  return io::load_checkpoint(dir / "a.safetensors", {.resnet_as_detectron2 = resnet_as_detectron2});
}

std::unique_ptr<PatchBackbone> backbone_of(const std::string& layout) {
  return load_patch_backbone(read(made_up_file(kBundle, layout)).tensors, layout);
}

Tensor image_of(std::int64_t height, std::int64_t width) { return made_up("image", {1, 3, height, width}, 0, 4); }

class ConvFeatures : public testing::TestWithParam<const char*> {};

TEST_P(ConvFeatures, MapsOfEachStageAreTheReferences) {
  const auto network = backbone_of(GetParam());
  const StateDict outputs = made_up_outputs(kBundle, GetParam());
  ASSERT_EQ(network->layers(), 4);
  int compared = 0;
  for (const auto& [h, w] : {std::pair<std::int64_t, std::int64_t>{32, 64}, {40, 56}})
    for (std::int64_t stage = 0; stage < 4; ++stage) {
      const auto expected = outputs.find(fmt::format("{}x{}.{}", h, w, stage));
      if (expected == outputs.end()) continue;
      const Tensor map = network->features(image_of(h, w), FeatureKind::kOut, stage);
      EXPECT_EQ(map.size(2), h / network->layer_patch_px(stage));
      EXPECT_TRUE(map.is_contiguous());
      EXPECT_LE(relative_error(map.select(0, 0).contiguous(), expected->second), 1e-5) << h << " stage " << stage;
      ++compared;
    }
  EXPECT_EQ(compared, std::string(GetParam()) == "dinov3 convnext" ? 6 : 4);
  EXPECT_EQ(network->features(image_of(32, 64), FeatureKind::kOut).to_vector<float>(),
            network->features(image_of(32, 64), FeatureKind::kOut, 3).to_vector<float>());
}

TEST_P(ConvFeatures, HaveOutputAndNoKeysOrAttention) {
  const auto network = backbone_of(GetParam());
  EXPECT_EQ(network->usual_kind(), FeatureKind::kOut);
  EXPECT_EQ(network->patch_px(), 32);
  EXPECT_EQ(network->parts_patch_px({{FeatureKind::kOut, 1}, {FeatureKind::kOut, -1}}), 8);
  EXPECT_THROW(network->features(image_of(32, 64), FeatureKind::kK), Error);
  EXPECT_THROW(network->features_and_attention(image_of(32, 64), FeatureKind::kOut), Error);
  if (!network->takes_any_size())
    EXPECT_THROW(network->features(image_of(40, 56), FeatureKind::kOut), Error) << "no multiple of 32";
  EXPECT_FALSE(network->position(2, 2).defined());
}

TEST_P(ConvFeatures, AreDescribed) {
  const io::Checkpoint file = read(made_up_file(kBundle, GetParam()), false);
  const Description description = describe_weights(file.tensors);
  EXPECT_THAT(description.missing, IsEmpty());
  EXPECT_THAT(description.mismatched, IsEmpty());
  const bool resnet = std::string(GetParam()).ends_with("resnet");
  EXPECT_EQ(description.architecture,
            resnet ? "ResNet with 2-1-2-1 bottlenecks" : "ConvNeXt widths 8-16-24-32 depths 2-1-2-1");
  if (!resnet) EXPECT_THAT(description.facts, Contains(Pair("depths", "2-1-2-1")));
}

INSTANTIATE_TEST_SUITE_P(Layouts, ConvFeatures,
                         testing::Values("dinov3 convnext", "hf convnext", "hf convnext model", "timm convnext",
                                         "torchvision resnet"),
                         [](const auto& layout) {
                           std::string name = layout.param;
                           for (char& c : name)
                             if (c == ' ') c = '_';
                           return name;
                         });

// Stages of 8, 16 and 32 pixels on one grid: PyTorch's interpolate, normalize and cat.
TEST(ConvFeatures, SeveralStagesAreJoinedOnTheFinestGrid) {
  const auto network = backbone_of("dinov3 convnext");
  const Tensor joined =
      network->maps(image_of(32, 64), {{FeatureKind::kOut, 1}, {FeatureKind::kOut, 2}, {FeatureKind::kOut, 3}})
          .features;
  EXPECT_LE(
      relative_error(joined.select(0, 0).contiguous(), made_up_outputs(kBundle, "dinov3 convnext").at("32x64.joined")),
      1e-5);
  // The finest decides what a picture's sides must be multiples of.
  const FeatureParts parts{{FeatureKind::kOut, 1}, {FeatureKind::kOut, 3}};
  EXPECT_EQ(network->maps(image_of(40, 56), parts).features.shape(), (Shape{1, 48, 5, 7}));
}

TEST(ConvFeatures, PublishedSizesHaveNames) {
  EXPECT_EQ((ConvNextConfig{}).name(), "ConvNeXt-T");
  EXPECT_EQ((ConvNextConfig{.depths = {3, 3, 27, 3}}).name(), "ConvNeXt-S");
  EXPECT_EQ((ConvNextConfig{{128, 256, 512, 1024}, {3, 3, 27, 3}}).name(), "ConvNeXt-B");
  EXPECT_EQ((ConvNextConfig{{192, 384, 768, 1536}, {3, 3, 27, 3}}).name(), "ConvNeXt-L");
  EXPECT_EQ((ConvNextConfig{{96, 192, 384, 700}, {3, 3, 9, 3}}).name(),
            "ConvNeXt widths 96-192-384-700 depths 3-3-9-3");
}

TEST(ConvFeatures, Detectron2sNamesLoadAsWell) {
  StateDict file = made_up_file(kBundle, "torchvision resnet");
  const StateDict renamed = read(file).tensors;
  EXPECT_TRUE(renamed.contains("res2.0.conv1.norm.running_mean"));
  const auto network = load_patch_backbone(read(renamed).tensors, "Detectron2's");
  EXPECT_EQ(network->features(image_of(32, 64), FeatureKind::kOut, 0).to_vector<float>(),
            backbone_of("torchvision resnet")->features(image_of(32, 64), FeatureKind::kOut, 0).to_vector<float>());
}

// Each of a ResNet's halvings rounds up, as Detectron2's does without padding; a ConvNeXt needs whole patches.
TEST(ConvFeatures, AResNetTakesAnySize) {
  const auto network = backbone_of("torchvision resnet");
  ASSERT_TRUE(network->takes_any_size());
  EXPECT_FALSE(backbone_of("timm convnext")->takes_any_size());
  for (std::int64_t stage = 0; stage < 4; ++stage) {
    const std::int64_t patch = network->layer_patch_px(stage);
    const Tensor map = network->features(image_of(41, 67), FeatureKind::kOut, stage);
    EXPECT_EQ(map.size(2), (41 + patch - 1) / patch);
    EXPECT_EQ(map.size(3), (67 + patch - 1) / patch);
  }
  const FeatureParts parts{{FeatureKind::kOut, 2}, {FeatureKind::kOut, 3}};
  const Tensor joined = network->maps(image_of(41, 67), parts).features;
  EXPECT_EQ(joined.size(2), 3);
  EXPECT_EQ(joined.size(3), 5);
}

// What a training of DenseCL saves, and what is extracted from it, are one backbone.
TEST(ConvFeatures, DenseClsTrainingFilesLoadAsWell) {
  StateDict file;
  for (const auto& [name, tensor] : made_up_file(kBundle, "torchvision resnet")) {
    for (const char* prefix : {"encoder_q.0.", "backbone."}) file[prefix + name] = tensor;
    file["encoder_k.0." + name] = Tensor::zeros(tensor.shape(), tensor.dtype());
  }
  file["encoder_q.1.mlp.0.weight"] = file["encoder_q.1.mlp2.0.weight"] = Tensor::full({4, 4}, 1);
  file["queue"] = file["queue2"] = Tensor::full({4, 8}, 1);
  const auto network = load_patch_backbone(read(file).tensors, "DenseCL's");
  EXPECT_EQ(network->features(image_of(32, 64), FeatureKind::kOut).to_vector<float>(),
            backbone_of("torchvision resnet")->features(image_of(32, 64), FeatureKind::kOut).to_vector<float>());
}

std::string error_of(const StateDict& file) {
  try {
    load_patch_backbone(read(file).tensors, "network");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "no error";
}

TEST(ConvFeatures, WhatIsNoSuchNetworkIsRefusedWithASentence) {
  StateDict file = made_up_file(kBundle, "timm convnext");
  file["stages.0.blocks.0.mlp.grn.weight"] = Tensor::zeros({32});
  EXPECT_THAT(error_of(file), HasSubstr("a ConvNeXt of timm's, but 'stages.0.blocks.0.mlp.grn.weight' is no part of"));
  file = made_up_file(kBundle, "hf convnext");
  file.erase("stages.1.layers.0.gamma");
  EXPECT_THAT(error_of(file), HasSubstr("missing stages.1.0.gamma"));
  file = made_up_file(kBundle, "torchvision resnet");
  file["layer1.0.se.weight"] = Tensor::zeros({1});
  EXPECT_THAT(error_of(file), HasSubstr("a.safetensors: key map: 'layer1.0.se.weight' is not part of a ResNet"));
  file = made_up_file(kBundle, "dinov3 convnext");
  file["stages.3.0.extra"] = Tensor::zeros({1});
  file["head.weight"] = Tensor::zeros({1});  // a classifier is no error
  EXPECT_THAT(error_of(file), HasSubstr("unexpected stages.3.0.extra"));
}

}  // namespace
}  // namespace usol::test
