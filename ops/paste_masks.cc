#include "usol/ops/paste_masks.h"

#include <vector>

#include "usol/ops/paste_masks_math.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, double, Tensor&)> paste_masks_kernel{"paste_masks"};

Tensor paste_masks(const Tensor& masks, const Tensor& boxes, std::int64_t height, std::int64_t width,
                   double threshold) {
  check(masks.rank() == 3 && masks.size(1) == masks.size(2) && masks.size(1) > 0,
        "paste_masks: expected square masks [R, M, M], got {}", masks.shape());
  check(boxes.shape() == Shape{masks.size(0), 4}, "paste_masks: expected boxes [{}, 4], got {}", masks.size(0),
        boxes.shape());
  check(masks.dtype() == DType::kF32 && boxes.dtype() == DType::kF32 && masks.device() == boxes.device(),
        "paste_masks: expected f32 masks and boxes on one device, got {} on {} and {} on {}", masks.dtype(),
        masks.device(), boxes.dtype(), boxes.device());
  check(height > 0 && width > 0, "paste_masks: expected a size of at least 1 x 1, got {} x {}", height, width);
  Tensor out = Tensor::zeros({masks.size(0), height, width}, DType::kU8, masks.device());
  if (out.numel() > 0)
    paste_masks_kernel(out.device(), masks.detach().contiguous(), boxes.detach().contiguous(), threshold, out);
  return out;
}

namespace {

void paste_masks_cpu(const Tensor& masks, const Tensor& boxes, double threshold, Tensor& out) {
  const std::int64_t cells = masks.size(1), height = out.size(1), width = out.size(2);
  const auto least = static_cast<float>(threshold);
  auto* to = out.mutable_data<std::uint8_t>();
  parallel_for_each(0, masks.size(0), [&](std::int64_t r) {
    const float* mask = masks.data<float>() + r * cells * cells;
    const float* box = boxes.data<float>() + 4 * r;
    std::int64_t x0, x1, y0, y1;
    paste_range(box[0], box[2], width, &x0, &x1);
    paste_range(box[1], box[3], height, &y0, &y1);
    if (x0 >= x1 || y0 >= y1) return;
    std::vector<PasteTap> columns;
    for (std::int64_t x = x0; x < x1; ++x) columns.push_back(paste_tap(x, box[0], box[2], cells));
    for (std::int64_t y = y0; y < y1; ++y) {
      const PasteTap row = paste_tap(y, box[1], box[3], cells);
      const float *low = mask + row.low * cells, *high = mask + row.high * cells;
      std::uint8_t* pixel = to + (r * height + y) * width + x0;
      for (const PasteTap& column : columns) {
        const float value = low[column.low] * (column.low_weight * row.low_weight) +
                            low[column.high] * (column.high_weight * row.low_weight) +
                            high[column.low] * (column.low_weight * row.high_weight) +
                            high[column.high] * (column.high_weight * row.high_weight);
        *pixel++ = value >= least ? 1 : 0;
      }
    }
  });
}

const Register r_paste_masks(paste_masks_kernel, DeviceType::kCpu, paste_masks_cpu);

}  // namespace
}  // namespace usol
