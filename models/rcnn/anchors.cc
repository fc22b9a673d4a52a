#include "usol/models/rcnn/anchors.h"

#include <cmath>
#include <iterator>

namespace usol::rcnn {

Tensor level_anchors(std::int64_t height, std::int64_t width, std::int64_t stride_px, double size_px, Device device) {
  constexpr auto kRatios = static_cast<std::int64_t>(std::size(kAnchorRatios));
  Tensor anchors = Tensor::empty({height * width * kRatios, 4});
  float* to = anchors.mutable_data<float>();
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (const double ratio : kAnchorRatios) {
        const double w = std::sqrt(size_px * size_px / ratio), h = ratio * w;
        const auto left = static_cast<float>(x * stride_px), top = static_cast<float>(y * stride_px);
        *to++ = left + static_cast<float>(-w / 2);
        *to++ = top + static_cast<float>(-h / 2);
        *to++ = left + static_cast<float>(w / 2);
        *to++ = top + static_cast<float>(h / 2);
      }
    }
  }
  return anchors.to(device);
}

}  // namespace usol::rcnn
