#pragma once
// Anchors: the boxes that the RPN's predictions are relative to.

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::rcnn {

/// height / width, in this order at every place.
inline constexpr double kAnchorRatios[] = {0.5, 1, 2};

/// Anchors of one level: [height * width * sizes * ratios, 4] f32, in the order y, x, size, ratio. Each has area size^2
/// and its centre at (x stride, y stride). `sizes_px` and `stride_px` in pixels of the network's input. Source: Ren et
/// al. 2015, "Faster R-CNN"; Detectron2's DefaultAnchorGenerator with offset 0.
Tensor level_anchors(std::int64_t height, std::int64_t width, std::int64_t stride_px,
                     const std::vector<double>& sizes_px, Device device = {});

}  // namespace usol::rcnn
