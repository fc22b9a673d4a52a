#include "usol/models/boxes.h"

#include <algorithm>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/compare.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/nms.h"
#include "usol/ops/reduce.h"

namespace usol::detection {

Tensor clip(const Tensor& boxes, const Size& size) {
  const NoGrad no_grad;
  const auto w = static_cast<float>(size.width), h = static_cast<float>(size.height);
  const Tensor most = Tensor::from<float>({w, h, w, h}, {4}).to(boxes.device());
  return minimum(maximum(boxes, Tensor::zeros({}, boxes.dtype(), boxes.device())), most);
}

Tensor scaled(const Tensor& boxes, double scale_x, double scale_y) {
  const NoGrad no_grad;
  const auto x = static_cast<float>(scale_x), y = static_cast<float>(scale_y);
  return mul(boxes, Tensor::from<float>({x, y, x, y}, {4}).to(boxes.device()));
}

Tensor nonempty(const Tensor& boxes) {
  return logical_and(greater(sub(boxes.select(1, 2), boxes.select(1, 0)), 0),
                     greater(sub(boxes.select(1, 3), boxes.select(1, 1)), 0));
}

Tensor finite_rows(const Tensor& rows) {
  // x - x is 0 for finite x and NaN otherwise.
  const Tensor zeros = abs(sub(rows, rows));
  return rows.numel() == 0 ? equal(Tensor::zeros({rows.size(0)}, DType::kF32, rows.device()), 0)
                           : equal(amax(zeros, {1}), 0);
}

Tensor areas(const Tensor& boxes) {
  return mul(sub(boxes.select(1, 2), boxes.select(1, 0)), sub(boxes.select(1, 3), boxes.select(1, 1)));
}

Detections best_of(const Tensor& boxes, const Tensor& scores, const Tensor& classes, const DetectOptions& options) {
  const Tensor kept = batched_nms(boxes, scores, classes, options.nms);
  const Tensor first = kept.slice(0, 0, std::min(options.most, kept.size(0)));
  return {index_select(boxes, first), index_select(scores, first), index_select(classes, first), {}};
}

}  // namespace usol::detection
