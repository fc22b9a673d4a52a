#pragma once
// The coder between boxes [R, 4] (x0 y0 x1 y1, f32) and the deltas that networks predict, and rois. No gradients: boxes
// enter losses as constants. What other detectors need, too, is in models/boxes.h.

#include <array>

#include "usol/models/boxes.h"
#include "usol/models/rcnn/instances.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

using detection::areas;
using detection::best_of;
using detection::clip;
using detection::finite_rows;
using detection::nonempty;
using detection::scaled;

/// The R-CNN parameterisation: dx, dy in units of the box, dw, dh logarithms, each times a weight.
/// Source: Girshick et al. 2014, "Rich feature hierarchies", appendix C; Detectron2's Box2BoxTransform.
struct BoxCoder {
  std::array<double, 4> weights{1, 1, 1, 1};

  /// Deltas [R, 4] that turn `boxes` into `targets`.
  Tensor encode(const Tensor& boxes, const Tensor& targets) const;
  /// `boxes` moved by deltas [R, 4]; dw, dh / weight are limited from above at log(1000 / 16).
  Tensor decode(const Tensor& deltas, const Tensor& boxes) const;
};

/// Boxes of each picture -> rois [R, 5] with the picture's index in front, as roi_align takes them.
Tensor with_image_index(const std::vector<Tensor>& boxes);

}  // namespace usol::rcnn
