#pragma once
// Matrix NMS: where masks overlap, the worse ones lose score instead of being dropped, all in one step.
// Source: Wang et al. 2020, "SOLOv2: Dynamic and Fast Instance Segmentation", section 3.4.

#include "usol/tensor/tensor.h"

namespace usol {

/// Intersection over union of every two masks: masks [N, ...], bool or of any number format, a pixel belongs to a mask
/// where it is not 0 -> f32 [N, N]. Two masks without pixels give 0. Exact up to the division for masks of fewer than
/// 2^24 pixels. No gradient. Throws Error unless there is a dimension beside N.
Tensor pairwise_mask_iou(const Tensor& masks);

/// The scores [N] after the decay, in the order in which they came: iou [N, N] (only pairs i != j are read) and scores
/// of one floating dtype, classes i64 [N]. Mask i is better than j if its score is higher, or equal and i < j, and
/// their classes are the same. score_j falls to score_j min_i exp(-sigma iou_ij^2) / exp(-sigma c_i^2) over all i
/// better than j, where c_i is the largest IoU of i with one better than i (0 if there is none): a mask that is itself
/// overlapped takes less from others. No score rises. No gradient. Throws Error on other shapes, dtypes or devices.
Tensor matrix_nms(const Tensor& iou, const Tensor& scores, const Tensor& classes, double sigma = 2);

}  // namespace usol
