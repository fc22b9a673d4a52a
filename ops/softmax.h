#pragma once
// Softmax and its logarithm over one dimension.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// exp(a - max) / sum exp(a - max) over `dim`; floating, f16 and bf16 computed in f32. Gradient to a. A row of which
/// every element is -inf gives NaN, as in PyTorch. Throws Error on another dtype or a missing dimension.
Tensor softmax(const Tensor& a, int dim = -1);
/// log(softmax(a)), computed without the quotient.
Tensor log_softmax(const Tensor& a, int dim = -1);

/// in, out: [rows, n], dense. `log` chooses log_softmax.
extern Kernel<void(bool log, const Tensor& in, Tensor& out)> softmax_kernel;
/// grad_in from the op's output and its gradient, all [rows, n], dense:
/// softmax: out (g - sum(g out)); log_softmax: g - exp(out) sum(g).
extern Kernel<void(bool log, const Tensor& out, const Tensor& grad_out, Tensor& grad_in)> softmax_grad_kernel;

}  // namespace usol
