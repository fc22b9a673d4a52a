#pragma once
// a += b, the one piece of arithmetic that summing gradients needs.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Adds `b` to `a` in place. Same shape, floating dtype and device; any strides. Throws Error otherwise.
void add_into(Tensor& a, const Tensor& b);
extern Kernel<void(Tensor& a, const Tensor& b)> add_into_kernel;

}  // namespace usol
