// Pasting of masks on CUDA: a thread per pixel of every mask.

#include <cuda_runtime.h>

#include "usol/ops/paste_masks.h"
#include "usol/ops/paste_masks_math.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

__global__ void paste_pixels_kernel(const float* masks, const float* boxes, std::int64_t cells, float threshold,
                                    std::int64_t height, std::int64_t width, std::int64_t count, std::uint8_t* out) {
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride()) {
    const std::int64_t x = i % width, y = i / width % height, r = i / width / height;
    const float* box = boxes + 4 * r;
    std::int64_t x0, x1, y0, y1;
    paste_range(box[0], box[2], width, &x0, &x1);
    paste_range(box[1], box[3], height, &y0, &y1);
    if (x < x0 || x >= x1 || y < y0 || y >= y1) continue;  // `out` holds zeros
    const PasteTap column = paste_tap(x, box[0], box[2], cells), row = paste_tap(y, box[1], box[3], cells);
    const float* mask = masks + r * cells * cells;
    const float *low = mask + row.low * cells, *high = mask + row.high * cells;
    const float value = low[column.low] * (column.low_weight * row.low_weight) +
                        low[column.high] * (column.high_weight * row.low_weight) +
                        high[column.low] * (column.low_weight * row.high_weight) +
                        high[column.high] * (column.high_weight * row.high_weight);
    out[i] = value >= threshold ? 1 : 0;
  }
}

void paste_masks_cuda(const Tensor& masks, const Tensor& boxes, double threshold, Tensor& out) {
  const cuda::Queue queue("paste_masks", out.device());
  queue.launch(paste_pixels_kernel, queue.blocks_for(out.numel()), cuda::kThreads, 0, masks.data<float>(),
               boxes.data<float>(), masks.size(1), static_cast<float>(threshold), out.size(1), out.size(2), out.numel(),
               out.mutable_data<std::uint8_t>());
}

const Register r(paste_masks_kernel, DeviceType::kCuda, paste_masks_cuda);

}  // namespace
}  // namespace usol
