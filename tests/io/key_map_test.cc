// Each rule of io/key_map.h, and the names that look alike but must stay.
#include "usol/io/key_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "usol/tensor/error.h"

namespace usol {
namespace {

using Names = std::vector<std::string>;

struct Mapped {
  Names names, left_out;
  std::size_t rules;
};

Mapped map_names(const Names& names) {
  std::map<std::string, Tensor> tensors;
  for (const auto& name : names) tensors[name] = Tensor::zeros({1});
  const KeyMapReport report = map_keys(tensors);
  Mapped result{{}, report.left_out, report.applied.size()};
  for (const auto& item : tensors) result.names.push_back(item.first);
  return result;
}

TEST(KeyMap, DataParallelPrefixGoesOnlyIfAllHaveIt) {
  EXPECT_EQ(map_names({"module.a", "module.b.c"}).names, (Names{"a", "b.c"}));
  EXPECT_EQ(map_names({"module.a", "b"}).names, (Names{"b", "module.a"}));
  EXPECT_EQ(map_names({}).rules, 0u);
}

TEST(KeyMap, MocoKeepsTheQueryEncoder) {
  const Mapped mapped = map_names({"module.encoder_q.conv1.weight", "module.encoder_k.conv1.weight", "module.queue"});
  EXPECT_EQ(mapped.names, Names{"conv1.weight"});
  EXPECT_EQ(mapped.left_out, (Names{"encoder_k.conv1.weight", "queue"}));
  EXPECT_EQ(mapped.rules, 2u);
  EXPECT_EQ(map_names({"encoder_k.a", "queue"}).rules, 0u);
  EXPECT_EQ(map_names({"encoder_q.a", "other"}).rules, 0u);
}

TEST(KeyMap, DinoTrainingCheckpointsKeepTheBackbone) {
  const Mapped mapped = map_names({"backbone.norm.bias", "head.mlp.0.weight", "dino_head.x", "ibot_head.y"});
  EXPECT_EQ(mapped.names, Names{"norm.bias"});
  EXPECT_EQ(mapped.left_out, (Names{"dino_head.x", "head.mlp.0.weight", "ibot_head.y"}));
  EXPECT_EQ(map_names({"head.weight", "head.bias"}).rules, 0u);
}

TEST(KeyMap, DetectorsKeepTheirNames) {
  const Names detector = {"backbone.bottom_up.stem.conv1.weight", "backbone.fpn_output2.weight",
                          "proposal_generator.rpn_head.conv.weight", "roi_heads.box_head.fc1.weight"};
  EXPECT_EQ(map_names(detector).names, detector);
  // Backbones saved alone.
  for (const Names& backbone : {Names{"backbone.bottom_up.res2.0.conv1.weight", "backbone.bottom_up.stem.conv1.weight"},
                                Names{"backbone.fpn_lateral2.bias"}, Names{"backbone.net.blocks.0.norm1.bias"},
                                Names{"backbone.simfp_2.0.weight"}})
    EXPECT_EQ(map_names(backbone).names, backbone);
}

TEST(KeyMap, ChunksOfBlocksAreJoined) {
  EXPECT_EQ(map_names({"blocks.0.0.norm1.bias", "blocks.1.6.norm1.bias", "norm.bias"}).names,
            (Names{"blocks.0.norm1.bias", "blocks.6.norm1.bias", "norm.bias"}));
  const Names plain = {"blocks.0.norm1.bias", "blocks.1.norm1.bias"};
  EXPECT_EQ(map_names(plain).names, plain);
  const Names mixed = {"blocks.0.0.a", "blocks.1.a"};
  EXPECT_EQ(map_names(mixed).names, mixed);
  EXPECT_THROW(map_names({"blocks.0.3.a", "blocks.1.3.a"}), Error);
}

TEST(KeyMap, ResNetsGetDetectron2sNames) {
  std::map<std::string, Tensor> tensors;
  for (const char* name :
       {"conv1.weight", "bn1.running_mean", "bn1.num_batches_tracked", "layer1.0.conv1.weight", "layer1.0.bn3.bias",
        "layer4.12.downsample.0.weight", "layer4.12.downsample.1.running_var", "fc.0.weight"})
    tensors[name] = Tensor::zeros({1});
  const KeyMapReport report = resnet_to_detectron2(tensors, "b.");
  Names names;
  for (const auto& item : tensors) names.push_back(item.first);
  EXPECT_EQ(names, (Names{"b.res2.0.conv1.weight", "b.res2.0.conv3.norm.bias", "b.res5.12.shortcut.norm.running_var",
                          "b.res5.12.shortcut.weight", "b.stem.conv1.norm.running_mean", "b.stem.conv1.weight"}));
  EXPECT_EQ(report.left_out, (Names{"bn1.num_batches_tracked", "fc.0.weight"}));
  for (const char* odd : {"layer5.0.conv1.weight", "layer1.x.conv1.weight", "layer1.0.conv4.weight", "conv1.bias",
                          "layer1.0.relu", "layer", "blocks.0.attn"}) {
    std::map<std::string, Tensor> other{{odd, Tensor::zeros({1})}};
    EXPECT_THROW(resnet_to_detectron2(other), Error) << odd;
  }
  std::map<std::string, Tensor> none;
  EXPECT_THROW(resnet_to_detectron2(none), Error);
}

}  // namespace
}  // namespace usol
