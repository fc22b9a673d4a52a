#include "usol/ops/matrix_nms.h"

#include "usol/autograd/grad_mode.h"
#include "usol/ops/compare.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/matmul.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"

namespace usol {

Tensor pairwise_mask_iou(const Tensor& masks) {
  check(masks.rank() >= 2, "pairwise_mask_iou: expected masks [N, ...], got {}", masks.shape());
  const NoGrad no_grad;
  const std::int64_t n = masks.size(0);
  if (masks.numel() == 0) return Tensor::zeros({n, n}, DType::kF32, masks.device());
  const Tensor flat = masks.detach().reshape({n, -1});
  const Tensor pixels = (flat.dtype() == DType::kBool ? flat : not_equal(flat, 0)).to(DType::kF32);
  const Tensor both = matmul(pixels, pixels.transpose(0, 1));
  const Tensor areas = sum(pixels, {1});
  const Tensor either = sub(add(areas.unsqueeze(0), areas.unsqueeze(1)), both);
  return div(both, maximum(either, Tensor::full({1}, 1, DType::kF32, masks.device())));
}

Tensor matrix_nms(const Tensor& iou, const Tensor& scores, const Tensor& classes, double sigma) {
  check(scores.rank() == 1 && iou.shape() == Shape{scores.size(0), scores.size(0)} && classes.shape() == scores.shape(),
        "matrix_nms: expected iou [N, N], scores [N] and classes [N], got {}, {} and {}", iou.shape(), scores.shape(),
        classes.shape());
  check(is_floating(iou.dtype()) && scores.dtype() == iou.dtype() && classes.dtype() == DType::kI64 &&
            scores.device() == iou.device() && classes.device() == iou.device(),
        "matrix_nms: expected iou and scores of one floating dtype and i64 classes on one device, got {} on {}, {} on "
        "{} and {} on {}",
        iou.dtype(), iou.device(), scores.dtype(), scores.device(), classes.dtype(), classes.device());
  const NoGrad no_grad;
  const std::int64_t n = scores.size(0);
  if (n == 0) return scores.detach();
  const auto column = [](const Tensor& a) { return a.detach().unsqueeze(1); };  // mask i
  const auto row = [](const Tensor& a) { return a.detach().unsqueeze(0); };     // mask j
  const Tensor index = Tensor::arange(n, DType::kI64, iou.device());
  const Tensor first = logical_and(equal(column(scores), row(scores)), less(column(index), row(index)));
  const Tensor better =
      logical_and(logical_or(greater(column(scores), row(scores)), first), equal(column(classes), row(classes)));
  const Tensor overlap = masked_fill(iou.detach(), logical_not(better), 0);
  const auto kept = [&](const Tensor& of) { return exp(affine(mul(of, of), -sigma)); };
  const Tensor compensation = kept(amax(overlap, {0}));
  // Pairs in which i is not better give at least 1, and the best mask of all gives exactly 1 to the others.
  const Tensor least = neg(amax(neg(div(kept(overlap), column(compensation))), {0}));
  return mul(scores.detach(), least);
}

}  // namespace usol
