#pragma once
// Matrix products on CUDA through cuBLASLt: the device's ops/gemm.h. Row-major, any leading dimensions, one call for a
// batch with fixed strides; bias and activation are part of the product where cuBLASLt can.

#include <cstdint>

#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/dtype.h"

namespace usol::cuda {

enum class BlasEpilogue { kNone, kBias, kBiasRelu, kBiasGeluTanh };

/// C = epilogue(op(A) op(B) + (accumulate ? C : 0)); op(A) is m x k, op(B) is k x n, C is m x n, all of one floating
/// dtype; f16 and bf16 accumulate in f32, f32 uses TF32 only under Tf32Mode. bias has n elements (not for f64).
struct BlasProduct {
  DType dtype = DType::kF32;
  bool transpose_a = false, transpose_b = false;
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  std::int64_t lda = 0, stride_a = 0;  // elements; the stride is between the products of the batch
  const void* b = nullptr;
  std::int64_t ldb = 0, stride_b = 0;
  void* c = nullptr;
  std::int64_t ldc = 0, stride_c = 0;
  std::int64_t batch = 1;
  bool accumulate = false;
  BlasEpilogue epilogue = BlasEpilogue::kNone;
  const void* bias = nullptr;
};

/// Queues the product. m, n, k and batch at least 1. Throws Error if cuBLASLt has no algorithm for it.
void blas_product(const Queue& queue, const BlasProduct& product);

}  // namespace usol::cuda
