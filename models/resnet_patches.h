#pragma once
// A residual network as a patch backbone: the maps of its stages are the features, in patches of 4 to 32 pixels. Second
// arrow of the pipeline. Its parameters have Detectron2's names; io/key_map.h renames torchvision's, which DINO's,
// MoCo's and DenseCL's files have.

#include <cstdint>
#include <string>

#include "usol/models/resnet.h"
#include "usol/models/staged_backbone.h"

namespace usol {

class ResNetPatches : public StagedBackbone {
 public:
  ResNetPatches(const Scope& scope, const ResNetConfig& config);

  std::string name() const override { return resnet_name(config_.blocks); }
  std::string family() const override { return "ResNet"; }
  /// Layers are the stages: 0 is res2, 3 is res5 (torchvision: layer1 ... layer4).
  std::int64_t layers() const override { return 4; }
  /// Each of its halvings rounds up.
  bool takes_any_size() const override { return true; }

 protected:
  PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool attention, const Tensor& at) const override;

 private:
  ResNetConfig config_;
  ResNet net_;
};

}  // namespace usol
