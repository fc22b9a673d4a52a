#include "usol/ops/binary_cross_entropy.h"

#include "usol/ops/elementwise.h"

namespace usol {

Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& targets) {
  // maximum(), not relu(): at x = 0 it passes half of the gradient on, and sigmoid(0) = 1/2.
  const Tensor positive = maximum(logits, Tensor::zeros({}, logits.dtype(), logits.device()));
  const Tensor tail = log(affine(exp(neg(abs(logits))), 1, 1));
  return add(sub(positive, mul(logits, targets)), tail);
}

}  // namespace usol
