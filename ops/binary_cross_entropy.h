#pragma once
// Cross-entropy of independent yes/no decisions: objectness and mask pixels.

#include "usol/tensor/tensor.h"

namespace usol {

/// -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) per element, x = logits, t = targets in [0, 1]; floating, one dtype,
/// broadcast. Computed as max(x, 0) - x t + log(1 + exp(-|x|)), so large |x| neither overflow nor lose the loss.
/// Gradients to both. Throws Error when dtypes, devices or shapes do not fit.
Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& targets);

}  // namespace usol
