#include "usol/models/image_batch.h"

#include <algorithm>

#include "usol/ops/rank_values.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

Size size_of(const Tensor& picture) { return {picture.size(0), picture.size(1)}; }

// One picture into its [3, H', W'] of the batch.
template <class T>
void normalise(const T* pixels, const Size& size, const PixelScale& scale, std::int64_t height, std::int64_t width,
               float* to) {
  parallel_for(0, size.height, 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = 0; c < 3; ++c) {
      const auto colour = static_cast<std::size_t>(scale.blue_first ? 2 - c : c);
      const float mean = scale.mean[colour], deviation = scale.deviation[colour];
      for (std::int64_t y = first; y < last; ++y) {
        const T* from = pixels + y * size.width * 3 + static_cast<std::int64_t>(colour);
        float* row = to + (c * height + y) * width;
        for (std::int64_t x = 0; x < size.width; ++x) row[x] = (static_cast<float>(from[3 * x]) - mean) / deviation;
      }
    }
  });
}

}  // namespace

std::vector<Size> sizes_of(const std::vector<Tensor>& pictures) {
  std::vector<Size> sizes;
  for (const Tensor& picture : pictures) sizes.push_back(size_of(picture));
  return sizes;
}

Tensor image_batch(const char* who, const std::vector<Tensor>& pictures, std::int64_t step_px, std::int64_t square_px,
                   Communicator* ranks, const PixelScale& scale) {
  check(!pictures.empty(), "{}: no pictures", who);
  Size most{square_px, square_px};
  for (const Tensor& p : pictures) {
    check(p.rank() == 3 && p.size(2) == 3 && p.size(0) > 0 && p.size(1) > 0 && p.is_cpu() &&
              (p.dtype() == DType::kU8 || p.dtype() == DType::kF32),
          "{}: expected pictures u8 or f32 [H, W, 3] on the CPU, got {} {}", who, p.dtype(), p.shape());
    most = {std::max(most.height, p.size(0)), std::max(most.width, p.size(1))};
  }
  most = {static_cast<std::int64_t>(max_over_ranks(static_cast<double>(most.height), ranks)),
          static_cast<std::int64_t>(max_over_ranks(static_cast<double>(most.width), ranks))};
  const std::int64_t height = (most.height + step_px - 1) / step_px * step_px;
  const std::int64_t width = (most.width + step_px - 1) / step_px * step_px;
  const auto n = static_cast<std::int64_t>(pictures.size());
  Tensor images = Tensor::zeros({n, 3, height, width});
  for (std::int64_t i = 0; i < n; ++i) {
    const Tensor dense = pictures[static_cast<std::size_t>(i)].contiguous();
    float* to = images.mutable_data<float>() + i * 3 * height * width;
    if (dense.dtype() == DType::kU8)
      normalise(dense.data<std::uint8_t>(), size_of(dense), scale, height, width, to);
    else
      normalise(dense.data<float>(), size_of(dense), scale, height, width, to);
  }
  return images;
}

}  // namespace usol
