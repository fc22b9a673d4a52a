#pragma once
// The squared norms of many gradients, which clipping needs before any parameter moves.

#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::train {

/// Of each tensor (dense f32, of any shape), the sum of the squares of its elements, with the roundings of
/// sum(mul(t, t)). On a CPU all are read in one pass by all threads, which the sums do not depend on; from a device
/// with memory of its own all come in one transfer.
std::vector<float> sums_of_squares(const std::vector<Tensor>& tensors);

}  // namespace usol::train
