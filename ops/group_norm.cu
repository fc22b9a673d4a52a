// Group normalisation on CUDA: a block per group of a picture. The sums for the gradients of weight and bias are taken
// first, by channel, 32 channels side by side, in a fixed order.

#include <cuda_runtime.h>

#include "usol/ops/group_norm.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Grid;
using cuda::kThreads;
using cuda::kWarp;
using cuda::Queue;
using cuda::Sum;

template <class T>
__global__ void group_norm_groups_kernel(const T* x, const T* weight, const T* bias, double epsilon,
                                         std::int64_t pixels, std::int64_t channels, std::int64_t groups, T* out,
                                         Accumulator<T>* mean, Accumulator<T>* rstd) {
  using A = Accumulator<T>;
  __shared__ double scratch[kWarp];
  const std::int64_t item = blockIdx.x, width = channels / groups, first = item % groups * width;
  const std::int64_t count = pixels * width, begin = item / groups * pixels * channels + first;
  double total = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x)
    total += double(x[begin + i / width * channels + i % width]);
  const double m = cuda::block_reduce(total, Sum(), 0.0, scratch) / double(count);
  double squares = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const double distance = double(x[begin + i / width * channels + i % width]) - m;
    squares += distance * distance;
  }
  const double variance = cuda::block_reduce(squares, Sum(), 0.0, scratch) / double(count);
  const A centre = A(m), s = A(1 / ::sqrt(variance + epsilon));
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const std::int64_t at = begin + i / width * channels + i % width, c = first + i % width;
    out[at] = T((A(x[at]) - centre) * s * A(weight[c]) + A(bias[c]));
  }
  if (threadIdx.x == 0) {
    mean[item] = centre;
    rstd[item] = s;
  }
}

constexpr int kPixelRows = 8;  // warps of a block, taking turns over the pixels

template <class T>
__global__ void group_norm_grad_sums_kernel(const T* x, const T* grad, const Accumulator<T>* mean,
                                            const Accumulator<T>* rstd, std::int64_t pictures, std::int64_t pixels,
                                            std::int64_t channels, std::int64_t groups, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  __shared__ double partial[2][kPixelRows][kWarp];
  const std::int64_t picture = blockIdx.x, c = static_cast<std::int64_t>(blockIdx.y) * kWarp + threadIdx.x;
  double z = 0, g = 0;
  if (c < channels) {
    const std::int64_t item = picture * groups + c / (channels / groups);
    for (std::int64_t p = threadIdx.y; p < pixels; p += kPixelRows) {
      const std::int64_t at = (picture * pixels + p) * channels + c;
      z += double(A(grad[at]) * (A(x[at]) - mean[item]) * rstd[item]);
      g += double(grad[at]);
    }
  }
  partial[0][threadIdx.y][threadIdx.x] = z;
  partial[1][threadIdx.y][threadIdx.x] = g;
  __syncthreads();
  if (threadIdx.y == 0 && c < channels) {
    for (int row = 1; row < kPixelRows; ++row) {
      z += partial[0][row][threadIdx.x];
      g += partial[1][row][threadIdx.x];
    }
    sums[picture * channels + c] = A(z);
    sums[(pictures + picture) * channels + c] = A(g);
  }
}

// With z = (x - m) s, means over the group: dx = s (g w - mean(g w) - z mean(g w z)).
template <class T>
__global__ void group_norm_grad_groups_kernel(const T* x, const T* weight, const Accumulator<T>* mean,
                                              const Accumulator<T>* rstd, const T* grad, const Accumulator<T>* sums,
                                              std::int64_t pictures, std::int64_t pixels, std::int64_t channels,
                                              std::int64_t groups, T* grad_x) {
  using A = Accumulator<T>;
  const std::int64_t item = blockIdx.x, picture = item / groups, width = channels / groups;
  const std::int64_t first = item % groups * width, count = pixels * width;
  const std::int64_t begin = picture * pixels * channels + first;
  double a = 0, b = 0;
  for (std::int64_t c = first; c < first + width; ++c) {
    b += double(sums[picture * channels + c]) * double(weight[c]);
    a += double(sums[(pictures + picture) * channels + c]) * double(weight[c]);
  }
  const A m = mean[item], s = rstd[item], mean_grad = A(a / double(count)), mean_z = A(b / double(count));
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const std::int64_t at = begin + i / width * channels + i % width;
    grad_x[at] = T(s * (A(grad[at]) * A(weight[first + i % width]) - mean_grad - (A(x[at]) - m) * s * mean_z));
  }
}

void group_norm_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups, double epsilon,
                     Tensor& out, Tensor& mean, Tensor& rstd) {
  const Queue queue("group_norm", x.device());
  dispatch_floating(x.dtype(), "group_norm", [&]<class T>() {
    using A = Accumulator<T>;
    queue.launch(group_norm_groups_kernel<T>, Grid{x.size(0) * groups}, kThreads, 0, x.data<T>(), weight.data<T>(),
                 bias.data<T>(), epsilon, x.size(1), x.size(2), groups, out.mutable_data<T>(), mean.mutable_data<A>(),
                 rstd.mutable_data<A>());
  });
}

void group_norm_grad_cuda(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                          const Tensor& grad, std::int64_t groups, Tensor& grad_x, Tensor& sums) {
  const Queue queue("group_norm_grad", x.device());
  dispatch_floating(x.dtype(), "group_norm_grad", [&]<class T>() {
    using A = Accumulator<T>;
    const std::int64_t pictures = x.size(0), pixels = x.size(1), channels = x.size(2);
    queue.launch(group_norm_grad_sums_kernel<T>, Grid{pictures, (channels + kWarp - 1) / kWarp},
                 dim3(kWarp, kPixelRows), 0, x.data<T>(), grad.data<T>(), mean.data<A>(), rstd.data<A>(), pictures,
                 pixels, channels, groups, sums.mutable_data<A>());
    queue.launch(group_norm_grad_groups_kernel<T>, Grid{pictures * groups}, kThreads, 0, x.data<T>(), weight.data<T>(),
                 mean.data<A>(), rstd.data<A>(), grad.data<T>(), sums.data<A>(), pictures, pixels, channels, groups,
                 grad_x.mutable_data<T>());
  });
}

const Register r_group_norm(group_norm_kernel, DeviceType::kCuda, group_norm_cuda);
const Register r_group_norm_grad(group_norm_grad_kernel, DeviceType::kCuda, group_norm_grad_cuda);

}  // namespace
}  // namespace usol
