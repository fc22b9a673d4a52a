#pragma once
// The largest elements and where they are, with ties settled: the lowest index comes first.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct TopK {
  Tensor values;   // [..., k], descending
  Tensor indices;  // i64, the same shape
};

/// The k largest elements of the last dimension, descending; equal elements by ascending index; NaN counts as larger
/// than all. Floating; the values carry gradients. Throws Error unless 0 <= k <= size. With k = size it is a stable
/// descending sort.
TopK topk(const Tensor& a, std::int64_t k);
/// Index of the largest element along `dim`, the lowest of equals; i64, `dim` dropped. Throws Error over no elements.
Tensor argmax(const Tensor& a, int dim = -1);

/// a [rows, n] dense, floating; indices [rows, k] dense i64, in the order of topk().
extern Kernel<void(const Tensor& a, Tensor& indices)> topk_kernel;

}  // namespace usol
