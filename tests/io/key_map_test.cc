// Each rule of io/key_map.h, and the names that look alike but must stay.
#include "usol/io/key_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "usol/tensor/error.h"

namespace usol::io {
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

TEST(KeyMap, WrappersGoInAnyOrderAndNumber) {
  const Names plain = {"a", "b.c"};
  EXPECT_EQ(map_names({"_orig_mod.a", "_orig_mod.b.c"}).names, plain);
  EXPECT_EQ(map_names({"model.a", "model.b.c"}).names, plain);
  EXPECT_EQ(map_names({"module._orig_mod.a", "module._orig_mod.b.c"}).names, plain);
  EXPECT_EQ(map_names({"_orig_mod.module.a", "_orig_mod.module.b.c"}).names, plain);
  EXPECT_EQ(map_names({"model.module.model.a", "model.module.model.b.c"}).names, plain);
  EXPECT_EQ(map_names({"a", "b._fsdp_wrapped_module._checkpoint_wrapped_module.c"}).names, plain);
  EXPECT_EQ(map_names({"backbone._orig_mod.a", "head._orig_mod.x"}).names, Names{"a"});
  for (const Names& stay : {Names{"a", "model.b"}, Names{"models.a"}, Names{"my_orig_mod.a"}})
    EXPECT_EQ(map_names(stay).names, stay);
  EXPECT_THROW(map_names({"_orig_mod.a", "a"}), Error) << "two of one name";
}

TEST(KeyMap, SelfDistillationKeepsTheTeachersBackbone) {
  const Mapped mapped = map_names({"teacher.backbone.a", "teacher.dino_head.x", "student.backbone.a",
                                   "student.ibot_head.y", "dino_loss.center", "ibot_patch_loss.center"});
  EXPECT_EQ(mapped.names, Names{"a"});
  EXPECT_EQ(mapped.left_out.size(), 5u);
  EXPECT_EQ(map_names({"teacher.backbone.blocks.0.3.a", "teacher.dino_head.mlp.0.weight"}).names, Names{"blocks.3.a"});
  EXPECT_EQ(map_names({"teacher.a", "student.a"}).names, Names{"a"});
  EXPECT_EQ(map_names({"student.a"}).names, Names{"a"});
  EXPECT_EQ(map_names({"dino_loss.center"}).names, Names{"dino_loss.center"});
  const Names other = {"student.a", "teacher.a", "x"};
  EXPECT_EQ(map_names(other).names, other) << "no program known here";
}

TEST(KeyMap, AClassifiersPartsGoBesideAVisionTransformerOnly) {
  const Names vit = {"blocks.0.attn.qkv.weight", "patch_embed.proj.weight", "pos_embed"};
  Names with = vit;
  with.insert(with.end(), {"fc_norm.bias", "head.weight", "head_dist.bias", "pre_logits.fc.weight"});
  const Mapped mapped = map_names(with);
  EXPECT_EQ(mapped.names, vit);
  EXPECT_EQ(mapped.left_out, (Names{"fc_norm.bias", "head.weight", "head_dist.bias", "pre_logits.fc.weight"}));
  EXPECT_EQ(map_names({"fc_norm.bias", "head.weight"}).names, (Names{"fc_norm.bias", "head.weight"}));
}

TEST(KeyMap, MocoKeepsTheQueryEncoder) {
  const Mapped mapped = map_names({"module.encoder_q.conv1.weight", "module.encoder_k.conv1.weight", "module.queue"});
  EXPECT_EQ(mapped.names, Names{"conv1.weight"});
  EXPECT_EQ(mapped.left_out, (Names{"encoder_k.conv1.weight", "queue"}));
  EXPECT_EQ(mapped.rules, 2u);
  EXPECT_EQ(map_names({"encoder_k.a", "queue"}).rules, 0u);
  EXPECT_EQ(map_names({"encoder_q.a", "other"}).rules, 0u);
}

// OpenSelfSup's encoders are a backbone and a neck, and it saves the backbone a second time.
TEST(KeyMap, DenseClKeepsTheQueryEncodersBackbone) {
  const Names file = {"backbone.conv1.weight",
                      "encoder_k.0.conv1.weight",
                      "encoder_k.1.mlp.0.weight",
                      "encoder_q.0.conv1.weight",
                      "encoder_q.0.layer1.0.bn1.weight",
                      "encoder_q.1.mlp2.0.weight",
                      "queue",
                      "queue2",
                      "queue2_ptr",
                      "queue_ptr"};
  const Mapped mapped = map_names(file);
  EXPECT_EQ(mapped.names, (Names{"conv1.weight", "layer1.0.bn1.weight"}));
  EXPECT_EQ(mapped.left_out.size(), file.size() - 2);
  EXPECT_EQ(mapped.rules, 1u);
  EXPECT_EQ(map_names({"encoder_q.0.a", "encoder_q.1.b"}).names, Names{"a"});
  // A network whose own first parts are numbered, and no neck.
  EXPECT_EQ(map_names({"encoder_q.0.a", "encoder_q.1.b", "encoder_q.2.c"}).names, (Names{"0.a", "1.b", "2.c"}));
  EXPECT_EQ(map_names({"encoder_q.conv1.weight", "encoder_q.fc.weight"}).names, (Names{"conv1.weight", "fc.weight"}));
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
}  // namespace usol::io
