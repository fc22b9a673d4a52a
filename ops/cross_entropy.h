#pragma once
// Softmax cross-entropy, the classification loss.

#include "usol/tensor/tensor.h"

namespace usol {

/// -log softmax(logits)[label] per row: logits [R, K] floating, labels i64 [R]
/// in [0, K); losses [R], so that callers weigh rows (DropLoss) and choose the
/// mean's denominator. Made of log_softmax and gather. Gradient to logits.
/// Throws Error on other shapes or dtypes, and for a label outside [0, K) as
/// gather() does.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);

}  // namespace usol
