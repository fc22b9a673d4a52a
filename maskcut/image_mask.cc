#include "usol/maskcut/image_mask.h"

#include <algorithm>

#include "usol/io/resize.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {

Tensor mask_to_image_size(const Tensor& mask, std::int64_t height, std::int64_t width, Preset preset) {
  check(mask.rank() == 2 && mask.dtype() == DType::kU8 && mask.numel() > 0,
        "mask_to_image_size: expected u8 [h, w], got {} {}", mask.dtype(), mask.shape());
  Tensor levels = mask.clone();
  std::uint8_t* level = levels.mutable_data<std::uint8_t>();
  std::transform(level, level + levels.numel(), level, [](std::uint8_t v) { return v != 0 ? 255 : 0; });
  Tensor result = resize(levels.unsqueeze(2), height, width, io::Filter::kBicubic).squeeze(2).contiguous();
  std::uint8_t* out = result.mutable_data<std::uint8_t>();
  const std::int64_t n = result.numel();
  const auto [lowest, highest] = std::minmax_element(out, out + n);
  const int low = *lowest, high = *highest;
  if (high == 0) return result;
  const bool exchange = preset == Preset::kRelease && low > 0 && 2 * out[0] <= high;
  std::transform(out, out + n, out, [&](std::uint8_t v) { return (2 * v > high) != exchange; });
  return result;
}

}  // namespace usol::maskcut
