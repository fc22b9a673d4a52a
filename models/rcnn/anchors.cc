#include "usol/models/rcnn/anchors.h"

#include <array>
#include <cmath>

namespace usol::rcnn {

Tensor level_anchors(std::int64_t height, std::int64_t width, std::int64_t stride_px,
                     const std::vector<double>& sizes_px, Device device) {
  std::vector<std::array<float, 4>> cell;  // around the centre
  for (const double size : sizes_px) {
    for (const double ratio : kAnchorRatios) {
      const double w = std::sqrt(size * size / ratio), h = ratio * w;
      cell.push_back({static_cast<float>(-w / 2), static_cast<float>(-h / 2), static_cast<float>(w / 2),
                      static_cast<float>(h / 2)});
    }
  }
  Tensor anchors = Tensor::empty({height * width * static_cast<std::int64_t>(cell.size()), 4});
  float* to = anchors.mutable_data<float>();
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const auto left = static_cast<float>(x * stride_px), top = static_cast<float>(y * stride_px);
      for (const auto& [x0, y0, x1, y1] : cell) {
        *to++ = left + x0;
        *to++ = top + y0;
        *to++ = left + x1;
        *to++ = top + y1;
      }
    }
  }
  return anchors.to(device);
}

}  // namespace usol::rcnn
