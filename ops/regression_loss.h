#pragma once
// The losses of box deltas: L1 and its smooth variant.

#include "usol/tensor/tensor.h"

namespace usol {

/// |input - target| per element, broadcast; floating, one dtype. Gradients to both, 0 where they are equal.
Tensor l1_loss(const Tensor& input, const Tensor& target);
/// d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2. beta = 0 is l1_loss. Gradients to both. Throws
/// Error for a negative beta. Source: Girshick 2015, "Fast R-CNN", eq. 3.
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta);

}  // namespace usol
