#pragma once
// The backbone of a "C4" detector: a ResNet up to res4, whose one map of stride 16 the region proposals and the heads
// share; res5 is the heads' (models/rcnn/box_head.h). Detectron2's parameter names: "stem.conv1.weight", "res2.0. ...".
// Source: He et al. 2016, appendix A; Ren et al. 2015; Detectron2's Base-RCNN-C4.

#include <cstdint>
#include <memory>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/resnet.h"

namespace usol {

class ResNetC4 : public Backbone {
 public:
  /// config.last_stage is taken as 4.
  ResNetC4(const Scope& scope, const ResNetConfig& config = {});

  /// res4 alone.
  const std::vector<FeatureSpec>& outputs() const override { return outputs_; }
  std::vector<Tensor> forward(const Tensor& images, const Context& context) const override;
  std::int64_t size_divisibility_px() const override { return 1; }
  std::string name() const override { return "ResNet C4"; }

 private:
  ResNet resnet_;
  std::vector<FeatureSpec> outputs_;
};

/// The settings of a training with it. The map has 4 * resnet_channels channels.
struct ResNetC4Settings : BackboneSettings {
  std::vector<std::int64_t> blocks{3, 4, 6, 3};  // of res2 ... res5
  std::int64_t resnet_channels = 256;            // of res2's result
  std::int64_t freeze_at = 0;
  bool norm_after_res5 = false;

  void declare(Settings& settings) override;
  /// Whatever `channels` are asked for: res4 has its own.
  MakeBackbone make(std::int64_t channels) const override;
  bool makes_pyramid() const override { return false; }
  std::unique_ptr<BackboneSettings> clone() const override { return std::make_unique<ResNetC4Settings>(*this); }
  /// Of the whole network, res5 included. Throws Error(kUsage) on values that do not fit together.
  ResNetConfig resnet() const;
};

MakeBackbone resnet_c4(const ResNetConfig& resnet = {});

}  // namespace usol
