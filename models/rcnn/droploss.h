#pragma once
// DropLoss: regions that overlap no pseudo-truth may be objects that the pseudo-truths miss; their loss is dropped.
// Source: Wang et al. 2023, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", eq. 5.

#include <optional>
#include <vector>

#include "usol/models/preset.h"
#include "usol/models/rcnn/instances.h"
#include "usol/ops/all_reduce.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

struct DropLoss {
  /// Nothing: off.
  /// kPaper: eq. 5, the box head's whole loss (classes and boxes) of a region times its weight, against all truths.
  /// kRelease: the classification loss only; a picture's truths are taken from its regions (the boxes matched by the
  /// first n regions, n the number of distinct boxes matched by the first 100); with a picture without truths in the
  /// batch it is off in the first stage, and that picture's regions get weight 0 in the later ones.
  std::optional<Preset> preset;
  double iou = 0.01;  // tau
};

/// Weights [R] (1 or 0) of one picture's regions: 1 where the largest overlap of the decoded, unclipped box with any of
/// `truths` [G, 4] exceeds `iou`; all 0 without truths.
Tensor droploss_weights(const Tensor& decoded, const Tensor& truths, double iou);

/// The release's set of truths: the first n of the matched boxes [R, 4], n as above.
Tensor release_truths(const Tensor& gt_boxes);

/// Weights of all regions of a stage, in the order of `samples`, or an undefined tensor if all of them count fully.
/// `decoded`: each picture's decoded boxes; `truths`: each picture's truth boxes. The batch is that of all `ranks`.
Tensor stage_weights(const DropLoss& droploss, const std::vector<Samples>& samples, const std::vector<Tensor>& decoded,
                     const std::vector<Truths>& truths, Communicator* ranks = nullptr);

}  // namespace usol::rcnn
