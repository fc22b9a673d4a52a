#pragma once
// Comparisons, and what masks are for: choosing between tensors, filling, listing positions.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kAnd, kOr };

/// a op b as bool, broadcast. Two tensors of one dtype and device; a NaN is unequal to everything. No gradient.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
/// With a constant, converted to a's dtype.
Tensor equal(const Tensor& a, double b);
Tensor not_equal(const Tensor& a, double b);
Tensor less(const Tensor& a, double b);
Tensor less_equal(const Tensor& a, double b);
Tensor greater(const Tensor& a, double b);
Tensor greater_equal(const Tensor& a, double b);
/// Of bool tensors, broadcast.
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& a);

/// a where `mask` (bool) is true, else b; all broadcast together, a and b of one dtype (any). Gradients to a and b.
Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b);
/// `value` where `mask` is true, else a. The mask broadcasts to a's shape. Gradient to a.
Tensor masked_fill(const Tensor& a, const Tensor& mask, double value);
/// Row-major positions, i64 [count], at which a bool tensor is true, ascending. Waits for the device.
Tensor nonzero(const Tensor& mask);

/// One shape, any strides; a and b of one dtype (bool for kAnd and kOr); out bool, dense.
extern Kernel<void(CompareOp op, const Tensor& a, const Tensor& b, Tensor& out)> compare_kernel;
/// One shape, any strides; a, b and out of one dtype, out dense.
extern Kernel<void(const Tensor& mask, const Tensor& a, const Tensor& b, Tensor& out)> where_kernel;
/// mask: dense bool [n]; makes `out`.
extern Kernel<void(const Tensor& mask, Tensor& out)> nonzero_kernel;

}  // namespace usol
