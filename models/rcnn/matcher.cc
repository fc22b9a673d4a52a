#include "usol/models/rcnn/matcher.h"

#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/reduce.h"
#include "usol/ops/topk.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {

Matches match(const Tensor& iou, const MatcherOptions& options) {
  check(iou.rank() == 2, "matcher: expected overlaps [G, N], got {}", iou.shape());
  const std::int64_t boxes = iou.size(1);
  const Device device = iou.device();
  if (iou.numel() == 0)
    return {Tensor::zeros({boxes}, DType::kI64, device), Tensor::full({boxes}, kNegative, DType::kI64, device)};
  const auto label = [&](std::int64_t value) {
    return Tensor::full({}, static_cast<double>(value), DType::kI64, device);
  };
  const Tensor best = amax(iou, {0});
  Tensor labels = where(less(best, options.low), label(kNegative), label(kIgnored));
  labels = where(greater_equal(best, options.high), label(kPositive), labels);
  if (options.low_quality) {
    const Tensor top = equal(iou, amax(iou, {1}, true));
    const Tensor any = greater(amax(cast(top, DType::kF32), {0}), 0);
    labels = where(any, label(kPositive), labels);
  }
  return {argmax(iou, 0), labels};
}

}  // namespace usol::rcnn
