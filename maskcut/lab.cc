#include "usol/maskcut/lab.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

class LabConverter {
 public:
  LabConverter() {
    for (std::size_t i = 0; i < 256; ++i) {
      const double v = static_cast<double>(i) / 255;
      linear_[i] = static_cast<float>(v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
    }
  }

  std::array<float, 3> operator()(const std::uint8_t* rgb) const {
    const float r = linear_[rgb[0]], g = linear_[rgb[1]], b = linear_[rgb[2]];
    const float x = root((0.412453f * r + 0.357580f * g + 0.180423f * b) / 0.95047f);
    const float y = root(0.212671f * r + 0.715160f * g + 0.072169f * b);
    const float z = root((0.019334f * r + 0.119193f * g + 0.950227f * b) / 1.08883f);
    return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
  }

 private:
  static float root(float t) { return t > 0.008856f ? std::cbrt(t) : 7.787f * t + 16.0f / 116.0f; }
  std::array<float, 256> linear_{};
};

}  // namespace

std::vector<float> lab_planes(const Tensor& rgb) {
  static const LabConverter to_lab;
  const std::int64_t pixels = rgb.size(0) * rgb.size(1);
  const std::uint8_t* in = rgb.data<std::uint8_t>();
  std::vector<float> planes(static_cast<std::size_t>(3 * pixels));
  parallel_for(0, pixels, 8192, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::array<float, 3> lab = to_lab(in + 3 * i);
      for (std::int64_t c = 0; c < 3; ++c)
        planes[static_cast<std::size_t>(c * pixels + i)] = lab[static_cast<std::size_t>(c)];
    }
  });
  return planes;
}

}  // namespace usol::maskcut
