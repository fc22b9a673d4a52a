// Softmax over rows on CUDA: a block per row, the row read once for its maximum, once for its sum, once for the result.

#include <cuda_runtime.h>

#include <limits>

#include "usol/ops/softmax.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::kWarp;
using cuda::Queue;

template <class T>
__global__ void softmax_rows_kernel(bool log, const T* in, std::int64_t rows, std::int64_t n, T* out) {
  using A = Accumulator<T>;
  __shared__ A scratch[kWarp];
  for (std::int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T* from = in + r * n;
    T* to = out + r * n;
    const A lowest = -std::numeric_limits<A>::infinity();
    A top = lowest, total = 0;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) top = cuda::Max()(top, A(from[i]));
    top = cuda::block_reduce(top, cuda::Max(), lowest, scratch);
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) total += ::exp(A(from[i]) - top);
    total = cuda::block_reduce(total, cuda::Sum(), A(0), scratch);
    const A log_total = ::log(total), scale = A(1) / total;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
      const A shifted = A(from[i]) - top;
      to[i] = T(log ? shifted - log_total : ::exp(shifted) * scale);
    }
  }
}

template <class T>
__global__ void softmax_grad_rows_kernel(bool log, const T* out, const T* grad_out, std::int64_t rows, std::int64_t n,
                                         T* grad_in) {
  using A = Accumulator<T>;
  __shared__ A scratch[kWarp];
  for (std::int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const T *y = out + r * n, *g = grad_out + r * n;
    A total = 0;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) total += log ? A(g[i]) : A(g[i]) * A(y[i]);
    total = cuda::block_reduce(total, cuda::Sum(), A(0), scratch);
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x)
      grad_in[r * n + i] = T(log ? A(g[i]) - ::exp(A(y[i])) * total : A(y[i]) * (A(g[i]) - total));
  }
}

// Short rows take small blocks, so that few threads idle.
int threads_for(std::int64_t n) { return n <= 64 ? 32 : n <= 512 ? 128 : 512; }
cuda::Grid blocks_for(std::int64_t rows) { return {rows < (1 << 20) ? rows : 1 << 20}; }

void softmax_cuda(bool log, const Tensor& in, Tensor& out) {
  const Queue queue("softmax", in.device());
  dispatch_floating(in.dtype(), "softmax", [&]<class T>() {
    queue.launch(softmax_rows_kernel<T>, blocks_for(in.size(0)), threads_for(in.size(1)), 0, log, in.data<T>(),
                 in.size(0), in.size(1), out.mutable_data<T>());
  });
}

void softmax_grad_cuda(bool log, const Tensor& out, const Tensor& grad_out, Tensor& grad_in) {
  const Queue queue("softmax_grad", out.device());
  dispatch_floating(out.dtype(), "softmax_grad", [&]<class T>() {
    queue.launch(softmax_grad_rows_kernel<T>, blocks_for(out.size(0)), threads_for(out.size(1)), 0, log, out.data<T>(),
                 grad_out.data<T>(), out.size(0), out.size(1), grad_in.mutable_data<T>());
  });
}

const Register r_softmax(softmax_kernel, DeviceType::kCuda, softmax_cuda);
const Register r_softmax_grad(softmax_grad_kernel, DeviceType::kCuda, softmax_grad_cuda);

}  // namespace
}  // namespace usol
