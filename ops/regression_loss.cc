#include "usol/ops/regression_loss.h"

#include "usol/ops/compare.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"

namespace usol {

Tensor l1_loss(const Tensor& input, const Tensor& target) { return abs(sub(input, target)); }

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta) {
  check(beta >= 0, "smooth_l1_loss: expected beta >= 0, got {}", beta);
  const Tensor d = l1_loss(input, target);
  if (beta == 0) return d;
  return where(less(d.detach(), beta), affine(mul(d, d), 0.5 / beta), affine(d, 1, -0.5 * beta));
}

}  // namespace usol
