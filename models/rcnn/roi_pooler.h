#pragma once
// Region features from the pyramid: each box is pooled from the level that fits its size.

#include <vector>

#include "usol/models/rcnn/instances.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

/// Level of each box, i64 [R], 0 for the finest (stride 4) to `levels` - 1: floor(4 + log2(sqrt(area) / 224 + 1e-8)) -
/// 2, limited. Source: Lin et al. 2017, "Feature Pyramid Networks", eq. 1, with Detectron2's constants.
Tensor assign_levels(const Tensor& boxes, std::int64_t levels);

/// features: p2, p3, ... [N, C, H, W] with strides 4, 8, ... (or from `first_stride_px` on); boxes: of each picture. ->
/// [R, C, size, size], R over all pictures in order. RoIAlign, aligned, adaptive sampling. `channels_last`: the
/// result's order in memory, for convolutions. Gradient to the features.
Tensor pool_regions(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes, std::int64_t size,
                    bool channels_last, std::int64_t first_stride_px = 4);

/// Truth masks cut out by boxes: masks [G, H, W] (u8 or bool), truth i64 [R] (which mask), boxes [R, 4] -> f32 [R,
/// size, size] of 0 and 1: RoIAlign of the mask, 1 where it is at least 0.5.
Tensor crop_masks(const Tensor& masks, const Tensor& truth, const Tensor& boxes, std::int64_t size);

}  // namespace usol::rcnn
