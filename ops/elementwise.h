#pragma once
// Elementwise arithmetic with NumPy broadcasting. One kernel per arity; the function is an enum argument, so a new one
// is a line in elementwise.cc and a line in elementwise.cu.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kMaximum, kMinimum };
enum class UnaryOp { kNeg, kExp, kLog, kSqrt, kAbs, kRelu, kSigmoid, kSilu, kGelu };

/// a op b. Floating inputs of one dtype and device, broadcast together; gradients to both (where values tie, maximum
/// and minimum give half to each, as PyTorch does). Throws Error when shapes do not broadcast or dtypes or devices
/// differ.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);

/// relu(a + b) as one operation, for places where residual branches join: the gradient needs nothing but its result.
Tensor add_relu(const Tensor& a, const Tensor& b);

/// scale * a + offset with constants. Gradient to a.
Tensor affine(const Tensor& a, double scale, double offset = 0);

/// f(a) per element, floating. Gradient to a. relu and abs have gradient 0 at 0. silu(x) = x sigmoid(x).
Tensor neg(const Tensor& a);
Tensor exp(const Tensor& a);
Tensor log(const Tensor& a);
Tensor sqrt(const Tensor& a);
Tensor abs(const Tensor& a);
Tensor relu(const Tensor& a);
Tensor sigmoid(const Tensor& a);
Tensor silu(const Tensor& a);
/// x Phi(x) with the exact normal distribution function (erf). Source: Hendrycks & Gimpel 2016.
Tensor gelu(const Tensor& a);

extern Kernel<void(BinaryOp op, const Tensor& a, const Tensor& b, Tensor& out)> binary_kernel;
extern Kernel<void(UnaryOp op, const Tensor& a, Tensor& out)> unary_kernel;
/// grad_in = grad_out * f'(a).
extern Kernel<void(UnaryOp op, const Tensor& a, const Tensor& grad_out, Tensor& grad_in)> unary_grad_kernel;
/// The gradient of a in maximum(a, b) or minimum(a, b): grad_out where a wins, half of it where both are equal, else 0.
extern Kernel<void(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& grad_out, Tensor& grad_a)>
    extremum_grad_kernel;
extern Kernel<void(const Tensor& a, double scale, double offset, Tensor& out)> affine_kernel;

}  // namespace usol
