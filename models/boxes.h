#pragma once
// Arithmetic of boxes [R, 4] (x0 y0 x1 y1, f32) that all detectors share: clipping, scaling, filtering. No gradients:
// boxes enter losses as constants.

#include "usol/models/detector.h"
#include "usol/tensor/tensor.h"

namespace usol::detection {

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
/// Of one picture's boxes [R, 4] with scores [R] and classes i64 [R]: those that suppression leaves within each class,
/// best first.
Detections best_of(const Tensor& boxes, const Tensor& scores, const Tensor& classes, const DetectOptions& options);

}  // namespace usol::detection
