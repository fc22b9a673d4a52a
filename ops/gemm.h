#pragma once
// Dense products on the CPU: oneDNN where it was found, Eigen (compiled per instruction set) otherwise and for f64.
// For the kernels of ops/ and maskcut/; models use ops/matmul.h and ops/linear.h.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

enum class Activation { kNone, kRelu, kGelu };  // kGelu is the exact one, x Phi(x)

/// C = activation(op(A) op(B) + bias + (accumulate ? C : 0)), row-major; op(A) is m x k, op(B) is k x n.
/// `bias` has n elements or is null. Leading dimensions count elements.
template <class T>
struct Gemm {
  bool transpose_a = false, transpose_b = false;
  std::int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  std::int64_t lda = 0;
  const T* b = nullptr;
  std::int64_t ldb = 0;
  T* c = nullptr;
  std::int64_t ldc = 0;
  bool accumulate = false;
  const T* bias = nullptr;
  Activation activation = Activation::kNone;
};

enum class GemmBackend { kOneDnn, kEigen };
/// True if this build has the backend.
bool has_backend(GemmBackend backend);
/// The backend products use. set_gemm_backend is for tests and benchmarks: both paths are held to the same cases.
GemmBackend gemm_backend();
void set_gemm_backend(GemmBackend backend);

/// Runs one product on all threads (on the calling one inside a parallel region). bf16 and f16 accumulate in f32; bf16
/// uses the CPU's own products where it has them.
void gemm(const Gemm<float>& g);
void gemm(const Gemm<double>& g);
void gemm(const Gemm<bf16>& g);
void gemm(const Gemm<f16>& g);

}  // namespace usol
