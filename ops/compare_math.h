#pragma once
// What a comparison of two numbers means, shared by the CPU and the CUDA kernel of compare.h.

#include "usol/ops/compare.h"
#include "usol/tensor/host_device.h"

namespace usol {

template <class T>
USOL_HOST_DEVICE inline bool holds(CompareOp op, T a, T b) {
  switch (op) {
    case CompareOp::kEqual:
      return a == b;
    case CompareOp::kNotEqual:
      return a != b;
    case CompareOp::kLess:
      return a < b;
    case CompareOp::kLessEqual:
      return a <= b;
    case CompareOp::kGreater:
      return a > b;
    case CompareOp::kGreaterEqual:
      return a >= b;
    case CompareOp::kAnd:
      return a != T(0) && b != T(0);
    case CompareOp::kOr:
      return a != T(0) || b != T(0);
  }
  return false;
}

}  // namespace usol
