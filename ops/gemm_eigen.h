#pragma once
// Entry points of gemm_eigen_multi_isa.cc, one set per compiled instruction set level.

#include "usol/ops/gemm.h"

namespace usol {

struct EigenGemm {
  void (*f32)(const Gemm<float>& g);  // C = op(A) op(B) + (accumulate ? C : 0); bias and activation are not applied
  void (*f64)(const Gemm<double>& g);
};

#if defined(__x86_64__)
EigenGemm eigen_gemm_v2();
EigenGemm eigen_gemm_v3();
EigenGemm eigen_gemm_v4();
#else
EigenGemm eigen_gemm_native();
#endif

/// The best set for this CPU. Throws Error(kUnsupported) below x86-64-v2.
const EigenGemm& eigen_gemm();

}  // namespace usol
