#pragma once
// The region heads: one box stage (Faster and Mask R-CNN) or a cascade of three, each refining the boxes of the one
// before, and the mask head, if there is one. Parameter names: roi_heads.box_head[.k], .box_predictor[.k], .mask_head;
// .res5 on C4. Source: Ren et al. 2015, "Faster R-CNN"; He et al. 2017, "Mask R-CNN"; Cai & Vasconcelos 2018, "Cascade
// R-CNN"; Detectron2's StandardROIHeads, CascadeROIHeads and Res5ROIHeads.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/models/rcnn/box_head.h"
#include "usol/models/rcnn/droploss.h"
#include "usol/models/rcnn/instances.h"
#include "usol/models/rcnn/mask_head.h"
#include "usol/models/rcnn/sampler.h"
#include "usol/nn/param_store.h"

namespace usol::rcnn {

struct RoiHeadsConfig {
  std::int64_t stages = 3;  // 1 or 3
  BoxHeadConfig box;
  std::optional<MaskHeadConfig> mask = MaskHeadConfig{};  // nothing: boxes alone
  std::int64_t mask_pooled = 14;
  std::int64_t samples = 512;        // regions per picture in training
  std::int64_t first_stride_px = 4;  // of the maps; 16 on C4
  double positive_fraction = 0.25;
  DropLoss droploss;
};

class RoiHeads {
 public:
  /// Throws Error on other numbers of stages, on a cascade or DropLoss with a box for each of several classes, and on
  /// masks or a cascade on C4.
  RoiHeads(const Scope& scope, const RoiHeadsConfig& config);

  /// The first stage's regions: proposals and truths together, matched at IoU 0.5, sampled.
  std::vector<Samples> sample(const std::vector<Proposals>& proposals, const std::vector<Truths>& truths,
                              const Sampler& sampler) const;
  /// A later stage's regions: boxes [R, 4] of each picture, as they were decoded, clipped; empty ones dropped; matched
  /// at the stage's IoU.
  std::vector<Samples> relabel(const std::vector<Tensor>& decoded, const std::vector<Size>& sizes,
                               const std::vector<Truths>& truths, std::int64_t stage) const;
  /// Predictions of stage 0 ... for boxes of each picture, all pictures' regions in order. features: p2 ... p5. In
  /// training the gradient that reaches the features is divided by the number of stages.
  BoxPredictions run_stage(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes, std::int64_t stage,
                           const Context& context) const;
  /// Each picture's decoded boxes [R, 4], or [R, 4 K] with one for each class; no gradient.
  std::vector<Tensor> decode(const BoxPredictions& predictions, const std::vector<Tensor>& boxes,
                             std::int64_t stage) const;

  /// All losses of the heads, under Detectron2's names: loss_cls_stage0 ..., loss_box_reg_stage0 ... (loss_cls,
  /// loss_box_reg with one stage), loss_mask.
  Losses losses(const std::vector<Tensor>& features, const std::vector<Proposals>& proposals,
                const std::vector<Size>& sizes, const std::vector<Truths>& truths, const Sampler& sampler,
                const Context& context) const;
  /// The mask loss: on the foreground of the first stage's regions.
  Tensor mask_loss(const std::vector<Tensor>& features, const std::vector<Samples>& samples,
                   const std::vector<Truths>& truths, const Context& context) const;

  /// Objects, without masks: the mean of the stages' scores, the last stage's boxes. No gradient.
  std::vector<Detections> detect_boxes(const std::vector<Tensor>& features, const std::vector<Proposals>& proposals,
                                       const std::vector<Size>& sizes, const DetectOptions& options) const;
  /// Fills in the masks of detections. No gradient; does nothing in a model without masks.
  void add_masks(const std::vector<Tensor>& features, std::vector<Detections>& detections) const;

  const RoiHeadsConfig& config() const { return config_; }
  const std::vector<BoxHead>& box_heads() const { return box_heads_; }

 private:
  Tensor pool(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes, std::int64_t size,
              bool channels_last) const;

  RoiHeadsConfig config_;
  std::vector<BoxHead> box_heads_;
  std::optional<MaskHead> mask_head_;
};

}  // namespace usol::rcnn
