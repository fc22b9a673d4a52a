// Batch normalisation on CUDA: sums over rows in pieces whose number depends on the shape only, and passes over the
// elements. A warp's lanes are neighbouring channels.

#include <cuda_runtime.h>

#include "usol/ops/batch_norm.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Grid;
using cuda::kWarp;
using cuda::Queue;

constexpr int kRowsAtOnce = 8;  // warps of a block, taking turns down the rows of its piece

// Values of an element in a sum: x and x^2, or with a gradient g and g x.
template <class T>
__device__ void element_terms(const T* x, const T* grad, const T* out, std::int64_t i, double& first, double& second) {
  using A = Accumulator<T>;
  const double value = static_cast<double>(A(x[i]));
  if (grad == nullptr) {
    first += value;
    second += value * value;
  } else if (out == nullptr || A(out[i]) > A(0)) {
    const double g = static_cast<double>(A(grad[i]));
    first += g;
    second += g * value;
  }
}

// Sums over the rows of one piece; `sums` is [pieces, 2, C].
template <class T>
__global__ void batch_norm_sums_kernel_of(const T* x, const T* grad, const T* out, std::int64_t rows,
                                          std::int64_t channels, double* sums) {
  __shared__ double partial[2][kRowsAtOnce][kWarp];
  const std::int64_t pieces = gridDim.y, piece = blockIdx.y;
  const std::int64_t begin = rows * piece / pieces, end = rows * (piece + 1) / pieces;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  double first = 0, second = 0;
  if (c < channels)
    for (std::int64_t r = begin + threadIdx.y; r < end; r += kRowsAtOnce)
      element_terms(x, grad, out, r * channels + c, first, second);
  partial[0][threadIdx.y][threadIdx.x] = first;
  partial[1][threadIdx.y][threadIdx.x] = second;
  __syncthreads();
  if (threadIdx.y == 0 && c < channels) {
    for (int r = 1; r < kRowsAtOnce; ++r) {
      first += partial[0][r][threadIdx.x];
      second += partial[1][r][threadIdx.x];
    }
    sums[2 * piece * channels + c] = first;
    sums[(2 * piece + 1) * channels + c] = second;
  }
}

__global__ void add_batch_norm_pieces_kernel(const double* pieces, std::int64_t count, std::int64_t items,
                                             double* sums) {
  for (std::int64_t i = cuda::first_item(); i < items; i += cuda::item_stride()) {
    double total = 0;
    for (std::int64_t p = 0; p < count; ++p) total += pieces[p * items + i];
    sums[i] = total;
  }
}

template <class T>
__global__ void batch_norm_apply_kernel_of(const T* x, const Accumulator<T>* scale, const Accumulator<T>* shift,
                                           bool relu, std::int64_t count, std::int64_t channels, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride()) {
    const std::int64_t c = i % channels;
    const A value = A(x[i]) * scale[c] + shift[c];
    out[i] = T(relu && value < A(0) ? A(0) : value);
  }
}

template <class T>
__global__ void batch_norm_grad_input_kernel_of(const T* x, const T* grad, const T* out,
                                                const Accumulator<T>* coefficients, std::int64_t count,
                                                std::int64_t channels, T* grad_x) {
  using A = Accumulator<T>;
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride()) {
    const std::int64_t c = i % channels;
    const A g = out != nullptr && !(A(out[i]) > A(0)) ? A(0) : A(grad[i]);
    grad_x[i] = T(coefficients[c] * g + coefficients[channels + c] * A(x[i]) + coefficients[2 * channels + c]);
  }
}

// grad and out may be undefined.
void sum_rows(const char* op, const Tensor& x, const Tensor& grad, const Tensor& out, Tensor& sums) {
  const Queue queue(op, x.device());
  const std::int64_t rows = x.size(0), channels = x.size(1);
  constexpr std::int64_t kRowsPerPiece = 512, kMostPieces = 256;
  const std::int64_t wanted = rows / kRowsPerPiece;
  const std::int64_t count = wanted < 1 ? 1 : wanted < kMostPieces ? wanted : kMostPieces;
  Tensor pieces = Tensor::empty({count, 2, channels}, DType::kF64, x.device());
  dispatch_floating(x.dtype(), op, [&]<class T>() {
    queue.launch(batch_norm_sums_kernel_of<T>, Grid{(channels + kWarp - 1) / kWarp, count}, dim3(kWarp, kRowsAtOnce), 0,
                 x.data<T>(), grad.defined() ? grad.data<T>() : nullptr, out.defined() ? out.data<T>() : nullptr, rows,
                 channels, pieces.mutable_data<double>());
  });
  queue.launch(add_batch_norm_pieces_kernel, queue.blocks_for(2 * channels), cuda::kThreads, 0, pieces.data<double>(),
               count, 2 * channels, sums.mutable_data<double>());
}

void batch_norm_sums_cuda(const Tensor& x, Tensor& sums) { sum_rows("batch_norm_sums", x, {}, {}, sums); }
void batch_norm_grad_sums_cuda(const Tensor& x, const Tensor& grad, const Tensor& out, Tensor& sums) {
  sum_rows("batch_norm_grad_sums", x, grad, out, sums);
}

void batch_norm_apply_cuda(const Tensor& x, const Tensor& scale, const Tensor& shift, bool relu, Tensor& out) {
  const Queue queue("batch_norm_apply", x.device());
  dispatch_floating(x.dtype(), "batch_norm_apply", [&]<class T>() {
    using A = Accumulator<T>;
    queue.launch(batch_norm_apply_kernel_of<T>, queue.blocks_for(x.numel()), cuda::kThreads, 0, x.data<T>(),
                 scale.data<A>(), shift.data<A>(), relu, x.numel(), x.size(1), out.mutable_data<T>());
  });
}

void batch_norm_grad_input_cuda(const Tensor& x, const Tensor& grad, const Tensor& out, const Tensor& coefficients,
                                Tensor& grad_x) {
  const Queue queue("batch_norm_grad_input", x.device());
  dispatch_floating(x.dtype(), "batch_norm_grad_input", [&]<class T>() {
    queue.launch(batch_norm_grad_input_kernel_of<T>, queue.blocks_for(x.numel()), cuda::kThreads, 0, x.data<T>(),
                 grad.data<T>(), out.defined() ? out.data<T>() : nullptr, coefficients.data<Accumulator<T>>(),
                 x.numel(), x.size(1), grad_x.mutable_data<T>());
  });
}

const Register r_sums(batch_norm_sums_kernel, DeviceType::kCuda, batch_norm_sums_cuda);
const Register r_apply(batch_norm_apply_kernel, DeviceType::kCuda, batch_norm_apply_cuda);
const Register r_grad_sums(batch_norm_grad_sums_kernel, DeviceType::kCuda, batch_norm_grad_sums_cuda);
const Register r_grad_input(batch_norm_grad_input_kernel, DeviceType::kCuda, batch_norm_grad_input_cuda);

}  // namespace
}  // namespace usol
