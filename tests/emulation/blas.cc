// Products for the emulated CUDA device, in plain loops: what tensor/cuda/blas.cc asks of cuBLASLt. For machines
// without NVIDIA's libraries; where they are, libraries/cublaslt.cc takes their own descriptors.

#include "usol/tensor/cuda/blas.h"

#include <cmath>

#include "tests/emulation/stream_work.h"

namespace usol::cuda {
namespace {

template <class A>
A activate(BlasEpilogue epilogue, A x) {
  switch (epilogue) {
    case BlasEpilogue::kBiasRelu:
      return x > 0 ? x : A(0);
    case BlasEpilogue::kBiasGeluTanh:
      return A(0.5) * x * (A(1) + std::tanh(A(0.7978845608028654) * (x + A(0.044715) * x * x * x)));
    default:
      return x;
  }
}

template <class T>
void run(const BlasProduct& p) {
  using A = Accumulator<T>;
  for (std::int64_t batch = 0; batch < p.batch; ++batch) {
    const T* a = static_cast<const T*>(p.a) + batch * p.stride_a;
    const T* b = static_cast<const T*>(p.b) + batch * p.stride_b;
    T* c = static_cast<T*>(p.c) + batch * p.stride_c;
    for (std::int64_t i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.n; ++j) {
        A total = p.accumulate ? A(c[i * p.ldc + j]) : A(0);
        for (std::int64_t x = 0; x < p.k; ++x)
          total +=
              A(a[p.transpose_a ? x * p.lda + i : i * p.lda + x]) * A(b[p.transpose_b ? j * p.ldb + x : x * p.ldb + j]);
        if (p.bias != nullptr) total += A(static_cast<const T*>(p.bias)[j]);
        c[i * p.ldc + j] = T(activate(p.epilogue, total));
      }
    }
  }
}

}  // namespace

void blas_product(const Queue& queue, const BlasProduct& product) {
  emulation::submit(queue.stream(), [product] {
    dispatch_floating(product.dtype, "blas", [&]<class T>() { run<T>(product); });
    return cudaSuccess;
  });
}

}  // namespace usol::cuda
