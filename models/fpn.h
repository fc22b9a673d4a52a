#pragma once
// Feature pyramid network over a bottom-up backbone, under Detectron2's parameter names ("fpn_lateral2.weight",
// "fpn_output2.weight", ...; the backbone's lie under "bottom_up"). Feeds the detector's heads.
// Source: Lin et al. 2017.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/resnet.h"
#include "usol/nn/conv.h"

namespace usol {

struct FpnConfig {
  std::int64_t channels = 256;
  nn::NormKind norm = nn::NormKind::kSyncBn;  // with a norm the convolutions have no bias
};

class Fpn : public Backbone {
 public:
  /// Makes the bottom-up backbone under scope / "bottom_up". Throws Error unless its strides double from map to map.
  Fpn(const Scope& scope, const std::function<std::unique_ptr<Backbone>(const Scope&)>& make_bottom_up,
      const FpnConfig& config = {});
  /// Over a ResNet: p2..p6.
  Fpn(const Scope& scope, const ResNetConfig& resnet, const FpnConfig& config = {});

  /// "p<log2 stride>", one per map of the bottom-up backbone, and one more: every second pixel of the last.
  const std::vector<FeatureSpec>& outputs() const override { return outputs_; }
  std::vector<Tensor> forward(const Tensor& images, const Context& context) const override;
  /// The stride of the last bottom-up map.
  std::int64_t size_divisibility_px() const override { return bottom_up_->outputs().back().stride_px; }

 private:
  std::unique_ptr<Backbone> bottom_up_;
  std::vector<nn::Conv2d> laterals_, output_convs_;  // high resolution first
  std::vector<FeatureSpec> outputs_;
};

/// The settings of a training with a ResNet and a feature pyramid; by default with norms throughout and nothing frozen.
struct ResNetFpnSettings : BackboneSettings {
  std::vector<std::int64_t> blocks{3, 4, 6, 3};  // of res2 ... res5
  std::int64_t resnet_channels = 256;            // of res2's result
  std::string norm = "SyncBN";                   // or "FrozenBN": the pyramid has none then, as in Detectron2
  std::string freeze = "none";                   // the last part without gradients: "stem", "res2" ... "res5"
  std::string usual_norm = norm;                 // the default of `norm`, which a detector may have another of

  void declare(Settings& settings) override;
  MakeBackbone make(std::int64_t channels) const override;
  std::unique_ptr<BackboneSettings> clone() const override { return std::make_unique<ResNetFpnSettings>(*this); }
};

/// Makes a ResNet with a feature pyramid.
MakeBackbone resnet_fpn(const ResNetConfig& resnet = {}, const FpnConfig& config = {});
/// Reads the pyramid's sizes off the shapes behind `prefix` ("backbone."): its channels, and whether it has norms
/// (SyncBN, which is what published files have).
FpnConfig fpn_config(const StateDict& state, const std::string& prefix);

}  // namespace usol
