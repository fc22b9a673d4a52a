// The largest eigenpairs of a dense symmetric matrix on CUDA, by cuSOLVER.

#include <cuda_runtime.h>

#include "usol/ops/symmetric_eigen.h"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/cuda/solver.h"

namespace usol {
namespace {

using cuda::Queue;

// The solver's pairs are ascending.
__global__ void reverse_rows_kernel(const double* values, const double* vectors, std::int64_t count, std::int64_t n,
                                    double* out_values, double* out_vectors) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count * n;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::int64_t row = i / n, from = count - 1 - row;
    out_vectors[i] = vectors[from * n + i % n];
    if (i % n == 0) out_values[row] = values[from];
  }
}

void symmetric_eigen_cuda(Tensor& a, Tensor& values, Tensor& vectors) {
  const Queue queue("symmetric_eigen", a.device());
  const std::int64_t n = a.size(0), count = values.size(0);
  Tensor ascending = Tensor::empty({n}, DType::kF64, a.device());
  double* pairs = a.mutable_data<double>();
  cuda::largest_symmetric_eigenpairs(queue, pairs, n, count, ascending.mutable_data<double>());
  queue.launch(reverse_rows_kernel, queue.blocks_for(count * n), dim3(cuda::kThreads), 0, ascending.data<double>(),
               pairs, count, n, values.mutable_data<double>(), vectors.mutable_data<double>());
}

const Register r_symmetric_eigen(symmetric_eigen_kernel, DeviceType::kCuda, symmetric_eigen_cuda);

}  // namespace
}  // namespace usol
