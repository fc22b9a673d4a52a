#pragma once
// Arithmetic of boxes [R, 4] (x0 y0 x1 y1, f32): the coder between boxes and the deltas that networks predict, clipping
// and filtering. No gradients: boxes enter losses as constants.

#include <array>

#include "usol/models/rcnn/instances.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

/// The R-CNN parameterisation: dx, dy in units of the box, dw, dh logarithms, each times a weight.
/// Source: Girshick et al. 2014, "Rich feature hierarchies", appendix C; Detectron2's Box2BoxTransform.
struct BoxCoder {
  std::array<double, 4> weights{1, 1, 1, 1};

  /// Deltas [R, 4] that turn `boxes` into `targets`.
  Tensor encode(const Tensor& boxes, const Tensor& targets) const;
  /// `boxes` moved by deltas [R, 4]; dw, dh / weight are limited from above at log(1000 / 16).
  Tensor decode(const Tensor& deltas, const Tensor& boxes) const;
};

/// Coordinates limited to [0, width] and [0, height].
Tensor clip(const Tensor& boxes, const Size& size);
/// x times `scale_x`, y times `scale_y`.
Tensor scaled(const Tensor& boxes, double scale_x, double scale_y);
/// bool [R]: width and height above 0.
Tensor nonempty(const Tensor& boxes);
/// bool [R]: all elements of the row [R, k] are finite.
Tensor finite_rows(const Tensor& rows);
/// [R]: width times height.
Tensor areas(const Tensor& boxes);
/// Boxes of each picture -> rois [R, 5] with the picture's index in front, as roi_align takes them.
Tensor with_image_index(const std::vector<Tensor>& boxes);

}  // namespace usol::rcnn
