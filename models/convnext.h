#pragma once
// ConvNeXt as a patch backbone, as DINOv3 trains it: the maps of its stages are the features, in patches of 4 to 32
// pixels. Second arrow of the pipeline. Parameter names are those of the official code; io/convnext_names.h renames the
// hubs'.
// Source: Liu et al. 2022, "A ConvNet for the 2020s"; Simeoni et al. 2025 (DINOv3).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/models/staged_backbone.h"
#include "usol/nn/conv.h"
#include "usol/nn/linear.h"
#include "usol/nn/norm.h"
#include "usol/nn/param_store.h"

namespace usol {

struct ConvNextConfig {
  std::array<std::int64_t, 4> widths{96, 192, 384, 768}, depths{3, 3, 9, 3};
  bool layer_scale = true;  // "gamma"

  /// "ConvNeXt-T", or the numbers for a size without a name.
  std::string name() const;
};

/// Reads the sizes off names and shapes; nothing if it is no ConvNeXt under the official names.
std::optional<ConvNextConfig> convnext_config(const StateDict& state);

class ConvNext : public StagedBackbone {
 public:
  ConvNext(const Scope& scope, const ConvNextConfig& config);

  std::string name() const override { return config_.name(); }
  std::string family() const override { return "ConvNeXt"; }
  std::int64_t layers() const override { return static_cast<std::int64_t>(stages_.size()); }

 protected:
  /// The last stage's map is normalised, as DINOv3's patch tokens are; the others have no norm of their own there.
  PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool attention, const Tensor& at) const override;

 private:
  struct Block {
    nn::Conv2d dwconv;
    nn::LayerNorm norm;
    nn::Linear pwconv1, pwconv2;
    Tensor gamma;  // undefined without layer scale

    Block(const Scope& scope, std::int64_t width, bool layer_scale);
    /// x [N, C, H, W] -> the same shape.
    Tensor operator()(const Tensor& x) const;
  };
  struct Stage {
    nn::LayerNorm norm;  // after the convolution in the first stage, before it in the others
    nn::Conv2d downsample;
    std::vector<Block> blocks;
  };

  ConvNextConfig config_;
  std::vector<Stage> stages_;
  nn::LayerNorm norm_;
};

}  // namespace usol
