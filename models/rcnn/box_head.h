#pragma once
// One stage of the box head: region features -> convolutions, if any -> fully connected layers -> class scores and box
// deltas, with its losses. Parameter names: <head>.conv1 ..., .fc1, .fc2; <predictor>.cls_score, .bbox_pred. On C4 the
// features go through a ResNet's res5 instead, and their mean to the scores and deltas: <head>.0.conv1 ..., .norm.
// Source: Lin et al. 2017; Detectron2's FastRCNNConvFCHead, FastRCNNOutputLayers and Res5ROIHeads; the norm behind res5
// is that of He et al. 2020 (MoCo), appendix, and of LOST's detectors.

#include <cstdint>
#include <optional>
#include <vector>

#include "usol/models/rcnn/boxes.h"
#include "usol/models/resnet.h"
#include "usol/nn/conv.h"
#include "usol/nn/linear.h"
#include "usol/nn/param_store.h"
#include "usol/ops/all_reduce.h"

namespace usol::rcnn {

/// A box head that is a ResNet's last stage.
struct Res5Config {
  ResNetConfig resnet;
  bool norm_after = false;
};

struct BoxHeadConfig {
  std::int64_t channels = 256, pooled = 7;  // of the region features
  std::int64_t convolutions = 0;            // before the fully connected layers; ViTDet has 4
  nn::NormKind norm = nn::NormKind::kNone;  // after each of them; ViTDet: "LN"
  std::int64_t fully_connected = 2;         // layers; ViTDet has 1
  std::int64_t hidden = 1024;
  std::int64_t classes = 1;  // without the background
  /// One box per region; false: one per class (the same for one class).
  bool class_agnostic = true;
  /// C4: in the place of convolutions and fully connected layers.
  std::optional<Res5Config> res5 = {};

  /// Boxes that are predicted of a region.
  std::int64_t boxes() const { return class_agnostic ? 1 : classes; }
};

struct BoxPredictions {
  Tensor logits;  // [R, classes + 1], the background last
  Tensor deltas;  // [R, 4 B], B = BoxHeadConfig::boxes()
};

struct BoxLosses {
  Tensor cls, reg;  // loss_cls, loss_box_reg
};

class BoxHead {
 public:
  BoxHead(const Scope& head, const Scope& predictor, const BoxHeadConfig& config, const BoxCoder& coder);

  /// pooled [R, C, P, P].
  BoxPredictions operator()(const Tensor& pooled, const Context& context) const;
  const BoxCoder& coder() const { return coder_; }

  /// Softmax cross-entropy, mean over regions, and L1 of the deltas of foreground regions (where there is one for each
  /// class, of those of the region's class), divided by the number of all regions. `boxes`, `gt_boxes` [R, 4],
  /// `classes` i64 [R]. `weights` [R] (may be undefined) multiplies each region's classification loss, and its box loss
  /// too if `weigh_boxes`. 0 for no regions. With `ranks` both are divided by all ranks' regions.
  BoxLosses losses(const BoxPredictions& predictions, const Tensor& boxes, const Tensor& gt_boxes,
                   const Tensor& classes, const Tensor& weights, bool weigh_boxes, Communicator* ranks = nullptr) const;

 private:
  BoxHeadConfig config_;
  BoxCoder coder_;
  std::vector<nn::Conv2d> convolutions_;
  std::vector<nn::Linear> fully_connected_;
  std::optional<ResNetStage> res5_;
  std::optional<nn::Norm> norm_after_;
  nn::Linear cls_score_, bbox_pred_;
};

}  // namespace usol::rcnn
