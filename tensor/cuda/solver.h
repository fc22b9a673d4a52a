#pragma once
// Symmetric eigenproblems on CUDA through cuSOLVER.

#include <cstdint>

#include "usol/tensor/cuda/launch.h"

namespace usol::cuda {

/// The `count` largest eigenpairs of the symmetric f64 [n, n] at `a`, ascending: values in values[0, count) (which has
/// room for n), vectors in the first `count` rows of `a`. Waits for the result. 1 <= count <= n.
/// Throws Error if it does not converge, and for n beyond 2^31 - 1.
void largest_symmetric_eigenpairs(const Queue& queue, double* a, std::int64_t n, std::int64_t count, double* values);

}  // namespace usol::cuda
