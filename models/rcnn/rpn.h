#pragma once
// The region proposal network: where objects may be, from the feature pyramid. First stage of the detector.
// Source: Ren et al. 2015, "Faster R-CNN"; Lin et al. 2017 (on a pyramid). Parameter names: proposal_generator.*.

#include <cstdint>
#include <vector>

#include "usol/models/rcnn/anchors.h"
#include "usol/models/rcnn/boxes.h"
#include "usol/models/rcnn/instances.h"
#include "usol/models/rcnn/sampler.h"
#include "usol/nn/conv.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/error.h"

namespace usol::rcnn {

struct RpnConfig {
  std::int64_t channels = 256;
  std::int64_t convolutions = 1;     // before the predictions; ViTDet has 2
  std::int64_t first_stride_px = 4;  // of p2; twice that of every next level. On C4: 16, and one level
  double first_anchor_px = 32;       // on the first level; twice that on every next one
  /// The anchors' sizes at a place of a level, as multiples of that one. On C4: 1, 2, 4, 8, 16.
  std::vector<double> anchor_sizes{1};
  double nms = 0.65;  // proposals of one level that overlap more are one; 0.7 in the self-training rounds
  std::int64_t pre_nms_train = 2000, pre_nms_test = 1000;    // candidates per level
  std::int64_t post_nms_train = 4000, post_nms_test = 1000;  // proposals over all levels
  double negative_below = 0.3, positive_from = 0.7;
  std::int64_t samples = 256;  // anchors per picture in the loss, half of them positive at most
};

using detection::Diverged;

struct RpnLosses {
  Tensor cls, loc;  // loss_rpn_cls, loss_rpn_loc
};

class Rpn {
 public:
  Rpn(const Scope& scope, const RpnConfig& config);

  /// Raw predictions, per level: logits [N, A], deltas [N, A, 4] for the level's A anchors.
  struct Output {
    std::vector<Tensor> logits, deltas;
  };
  /// features: p2 ... p6, [N, C, H, W].
  Output predict(const std::vector<Tensor>& features, const Context& context) const;
  /// The anchors of each level [A, 4].
  std::vector<Tensor> anchors(const std::vector<Tensor>& features) const;
  /// Each picture's proposals. No gradient. Throws Diverged in training.
  std::vector<Proposals> proposals(const std::vector<Tensor>& anchors, const Output& output,
                                   const std::vector<Size>& sizes, bool training) const;
  /// Binary cross-entropy of objectness and L1 of deltas over sampled anchors, both divided by samples x pictures, all
  /// ranks' pictures.
  RpnLosses losses(const std::vector<Tensor>& anchors, const Output& output, const std::vector<Truths>& truths,
                   const Sampler& sampler, const Context& context) const;

  const RpnConfig& config() const { return config_; }

 private:
  RpnConfig config_;
  BoxCoder coder_;
  std::vector<nn::Conv2d> convolutions_;
  nn::Conv2d objectness_, deltas_;
};

}  // namespace usol::rcnn
