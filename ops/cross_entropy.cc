#include "usol/ops/cross_entropy.h"

#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/softmax.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  check(logits.rank() == 2 && is_floating(logits.dtype()),
        "cross_entropy: expected floating logits [R, K], got {} of shape {}", logits.dtype(), logits.shape());
  check(labels.rank() == 1 && labels.dtype() == DType::kI64 && labels.size(0) == logits.size(0),
        "cross_entropy: expected i64 labels [{}], got {} of shape {}", logits.size(0), labels.dtype(), labels.shape());
  return neg(squeeze(gather(log_softmax(logits), labels.unsqueeze(1), 1), 1));
}

}  // namespace usol
