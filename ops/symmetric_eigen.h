#pragma once
// The largest eigenpairs of a dense symmetric matrix by a direct solver: what maskcut/ncut.h checks its Lanczos
// against.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct SymmetricEigen {
  Tensor values;   // f64 [count], descending
  Tensor vectors;  // f64 [count, n]: orthonormal rows; signs, and the basis among equal values, are the solver's
};

/// The `count` largest eigenpairs of a symmetric f64 [n, n]. Time grows with n^3 (CPU: Eigen's QR iteration for all of
/// them; CUDA: cuSOLVER's partial range). No gradient.
/// Throws Error unless `a` is f64, square and finite and 0 <= count <= n, and if the solver does not converge.
SymmetricEigen symmetric_eigen(const Tensor& a, std::int64_t count);

/// a [n, n] dense, n >= 1; values [count] and vectors [count, n] dense, count >= 1. `a` may be overwritten.
extern Kernel<void(Tensor& a, Tensor& values, Tensor& vectors)> symmetric_eigen_kernel;

}  // namespace usol
