#pragma once
// Residual networks as Detectron2 builds them, under its parameter names ("stem.conv1.weight",
// "res2.0.conv1.norm.weight", ...). The bottom of the detector's feature pyramid.
// Source: He et al. 2016; Xie et al. 2017 (groups); the stride in the 3 x 3 is that of Facebook's Torch version.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/nn/conv.h"
#include "usol/nn/param_store.h"

namespace usol {

/// Detectron2's MODEL.RESNETS and BACKBONE.FREEZE_AT, with the spec's values as defaults: R50, SyncBN, nothing frozen.
struct ResNetConfig {
  std::array<std::int64_t, 4> blocks{3, 4, 6, 3};  // res2..res5; 101: {3, 4, 23, 3}, 152: {3, 8, 36, 3}
  std::int64_t stem_channels = 64;
  std::int64_t res2_channels = 256;   // doubled from stage to stage
  std::int64_t groups = 1;            // of the 3 x 3 convolutions
  std::int64_t width_per_group = 64;  // in res2, doubled likewise
  bool stride_in_1x1 = false;         // false: a stage's stride is in its first 3 x 3
  std::int64_t res5_dilation = 1;     // 2: res5 keeps res4's resolution
  nn::NormKind norm = nn::NormKind::kSyncBn;
  int freeze_at = 0;   // 1: the stem gets no gradient and its norms are frozen; 2: res2 too; ... 5
  int last_stage = 5;  // 4: res2 ... res4
};

/// Reads the sizes off names and shapes: a ResNet's under Detectron2's names behind `prefix`, up to res`last_stage`.
/// Nothing if it is none. Norm, dilation and the place of the strides, which no shape shows, are the defaults.
std::optional<ResNetConfig> resnet_config(const StateDict& state, const std::string& prefix = {}, int last_stage = 5);
/// "ResNet-50", or its bottlenecks.
std::string resnet_name(const std::array<std::int64_t, 4>& blocks);

/// The bottlenecks of one stage: "0.conv1.weight", ... "0.shortcut.weight", "1.conv1.weight", ...
class ResNetStage {
 public:
  /// `stage` is 2 ... 5; res2 has the stem's result as input.
  ResNetStage(const Scope& scope, const ResNetConfig& config, int stage);
  /// x [N, C, H, W], which stays as it is -> [N, channels(), H / stride, W / stride].
  Tensor operator()(Tensor x, const Context& context) const;
  std::int64_t channels() const { return channels_; }
  std::int64_t stride() const { return stride_; }
  /// Stops all gradients, and makes batch norms frozen ones.
  void freeze();

 private:
  struct Block {
    std::optional<nn::Conv2d> shortcut;
    nn::Conv2d conv1, conv2, conv3;
    bool first;  // of its stage: its input is also the previous stage's result

    Block(const Scope& scope, const ResNetConfig& config, int stage, std::int64_t index);
    Tensor operator()(const Tensor& x, const Context& context) const;
    void freeze();
  };

  std::vector<Block> blocks_;
  std::int64_t channels_, stride_;
};

class ResNet : public Backbone {
 public:
  /// Throws Error on a freeze_at outside 0..5, a dilation that is neither 1 nor 2, and a last stage that is neither 4
  /// nor 5.
  ResNet(const Scope& scope, const ResNetConfig& config = {});

  /// res2, res3, res4, and res5 unless config.last_stage is 4.
  const std::vector<FeatureSpec>& outputs() const override { return outputs_; }
  std::vector<Tensor> forward(const Tensor& images, const Context& context) const override;
  /// The first `stages` of these maps: what comes behind is not computed.
  std::vector<Tensor> first_maps(const Tensor& images, const Context& context, std::size_t stages) const;
  /// What its convolutions take.
  DType dtype() const { return stem_.weight.dtype(); }
  /// Any size of at least one pixel: maps are rounded up.
  std::int64_t size_divisibility_px() const override { return 1; }

 private:
  nn::Conv2d stem_;
  std::vector<ResNetStage> stages_;
  std::vector<FeatureSpec> outputs_;
};

}  // namespace usol
