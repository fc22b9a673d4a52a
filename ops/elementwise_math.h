#pragma once
// The scalar functions of elementwise.h and their derivatives, shared by the CPU and the CUDA kernel.

#include <cmath>

#include "usol/ops/elementwise.h"
#include "usol/tensor/host_device.h"

namespace usol::elementwise {

// A is the accumulator type (f32 or f64).
template <class A>
USOL_HOST_DEVICE inline A apply(BinaryOp op, A a, A b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kMaximum:
      return a > b || a != a ? a : b;  // a NaN stays a NaN
    case BinaryOp::kMinimum:
      return a < b || a != a ? a : b;
  }
  return a;
}

template <class A>
USOL_HOST_DEVICE inline A normal_cdf(A x) {
  return A(0.5) * (A(1) + ::erf(x * A(0.70710678118654752440)));
}
template <class A>
USOL_HOST_DEVICE inline A logistic(A x) {
  return A(1) / (A(1) + ::exp(-x));
}

template <class A>
USOL_HOST_DEVICE inline A apply(UnaryOp op, A x) {
  switch (op) {
    case UnaryOp::kNeg:
      return -x;
    case UnaryOp::kExp:
      return ::exp(x);
    case UnaryOp::kLog:
      return ::log(x);
    case UnaryOp::kSqrt:
      return ::sqrt(x);
    case UnaryOp::kAbs:
      return ::fabs(x);
    case UnaryOp::kRelu:
      return x < A(0) ? A(0) : x;
    case UnaryOp::kSigmoid:
      return logistic(x);
    case UnaryOp::kSilu:
      return x * logistic(x);
    case UnaryOp::kGelu:
      return x * normal_cdf(x);
  }
  return x;
}

template <class A>
USOL_HOST_DEVICE inline A derivative(UnaryOp op, A x) {
  switch (op) {
    case UnaryOp::kNeg:
      return A(-1);
    case UnaryOp::kExp:
      return ::exp(x);
    case UnaryOp::kLog:
      return A(1) / x;
    case UnaryOp::kSqrt:
      return A(0.5) / ::sqrt(x);
    case UnaryOp::kAbs:
      return x > A(0) ? A(1) : x < A(0) ? A(-1) : A(0);
    case UnaryOp::kRelu:
      return static_cast<A>(x > A(0));  // without a branch, which a CPU would often guess wrongly
    case UnaryOp::kSigmoid:
      return logistic(x) * (A(1) - logistic(x));
    case UnaryOp::kSilu:
      return logistic(x) * (A(1) + x * (A(1) - logistic(x)));
    case UnaryOp::kGelu:
      return normal_cdf(x) + x * A(0.39894228040143267794) * ::exp(A(-0.5) * x * x);
  }
  return A(0);
}

/// The share of grad_out that `a` gets from maximum or minimum.
template <class A>
USOL_HOST_DEVICE inline A extremum_share(BinaryOp op, A a, A b) {
  if (a == b) return A(0.5);
  return (op == BinaryOp::kMaximum) == (a > b) ? A(1) : A(0);
}

}  // namespace usol::elementwise
