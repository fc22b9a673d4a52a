#include "usol/maskcut/frame.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// x / y rounded to the nearest integer, halves to even, at least 1.
std::int64_t divide_half_even(double x, std::int64_t y) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::nearbyint(x / static_cast<double>(y))));
}

// Source index of each of `to` pixels. The position is f64 and its floor is taken in f32, as PyTorch does for f64 maps.
std::vector<std::int64_t> nearest_indices(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  std::vector<std::int64_t> indices(static_cast<std::size_t>(to));
  for (std::int64_t i = 0; i < to; ++i)
    indices[static_cast<std::size_t>(i)] =
        std::min(static_cast<std::int64_t>(std::floor(static_cast<float>(scale * static_cast<double>(i)))), from - 1);
  return indices;
}

}  // namespace

Size working_size(std::int64_t image_height, std::int64_t image_width, std::int64_t size, std::int64_t patch,
                  bool native_aspect) {
  check(image_height >= 1 && image_width >= 1, "working_size: expected an image of at least 1 x 1, got {} x {}",
        image_height, image_width);
  check(size >= 1 && patch >= 1, "working_size: expected size and patch of at least 1, got {} and {}", size, patch);
  if (!native_aspect) return {size, size};
  const double height = static_cast<double>(image_height), width = static_cast<double>(image_width);
  const double scale = static_cast<double>(size) / std::sqrt(height * width);
  return {divide_half_even(height * scale, patch) * patch, divide_half_even(width * scale, patch) * patch};
}

Size patch_grid(const Size& frame, std::int64_t patch) {
  check(frame.height >= 1 && frame.width >= 1 && patch >= 1,
        "patch_grid: expected a frame and a patch of at least 1, got {} x {} and {}", frame.height, frame.width, patch);
  return {divide_half_even(static_cast<double>(frame.height), patch),
          divide_half_even(static_cast<double>(frame.width), patch)};
}

Tensor upsample_nearest(const Tensor& mask, const Size& size) {
  check(mask.rank() == 2 && mask.dtype() == DType::kU8 && mask.numel() > 0,
        "upsample_nearest: expected u8 [h, w], got {} {}", mask.dtype(), mask.shape());
  const Tensor source = mask.contiguous();
  const std::uint8_t* in = source.data<std::uint8_t>();
  const std::vector<std::int64_t> rows = nearest_indices(mask.size(0), size.height);
  const std::vector<std::int64_t> columns = nearest_indices(mask.size(1), size.width);
  Tensor result = Tensor::empty({size.height, size.width}, DType::kU8);
  std::uint8_t* out = result.mutable_data<std::uint8_t>();
  const std::int64_t width = mask.size(1);
  for (const std::int64_t row : rows)
    for (const std::int64_t column : columns) *out++ = in[row * width + column];
  return result;
}

}  // namespace usol::maskcut
