#pragma once
// A residual network as a patch backbone: the maps of its stages are the features, in patches of 4 to 32 pixels. Second
// arrow of the pipeline. Its parameters have Detectron2's names; io/key_map.h renames torchvision's, which DINO's,
// MoCo's and DenseCL's files have.

#include <cstdint>
#include <string>

#include "usol/models/patch_backbone.h"
#include "usol/models/resnet.h"

namespace usol {

class ResNetPatches : public PatchBackbone {
 public:
  ResNetPatches(const Scope& scope, const ResNetConfig& config);

  std::string name() const override { return resnet_name(config_.blocks); }
  std::string family() const override { return "ResNet"; }
  std::int64_t patch_px() const override { return layer_patch_px(layers() - 1); }
  /// Layers are the stages: 0 is res2, 3 is res5 (torchvision: layer1 ... layer4).
  std::int64_t layer_patch_px(std::int64_t layer) const override { return std::int64_t{4} << layer; }
  std::int64_t layers() const override { return 4; }
  bool has(FeatureKind kind) const override { return kind == FeatureKind::kOut; }
  FeatureKind usual_kind() const override { return FeatureKind::kOut; }
  bool has_attention() const override { return false; }
  Tensor position(std::int64_t, std::int64_t) const override { return {}; }

 protected:
  PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool attention, const Tensor& at) const override;

 private:
  ResNetConfig config_;
  ResNet net_;
};

}  // namespace usol
