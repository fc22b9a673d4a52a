// Layer normalisation on CUDA: a warp per row; the gradients of weight and bias are column sums in a fixed order, in
// pieces whose number depends on the shape only.

#include <cuda_runtime.h>

#include "usol/ops/layer_norm.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Grid;
using cuda::kWarp;
using cuda::Queue;
using cuda::Sum;
using cuda::warp_reduce;

constexpr int kRowsPerBlock = 4;  // warps of a block

cuda::Grid row_blocks(std::int64_t rows) {
  const std::int64_t blocks = (rows + kRowsPerBlock - 1) / kRowsPerBlock;
  return {blocks < (1 << 20) ? blocks : 1 << 20};
}

template <class T>
__global__ void layer_norm_rows_kernel(const T* x, const T* weight, const T* bias, double epsilon, std::int64_t rows,
                                       std::int64_t columns, T* out, Accumulator<T>* mean, Accumulator<T>* rstd) {
  using A = Accumulator<T>;
  const int lane = threadIdx.x;
  for (std::int64_t r = blockIdx.x * std::int64_t{kRowsPerBlock} + threadIdx.y; r < rows;
       r += gridDim.x * std::int64_t{kRowsPerBlock}) {
    const T* row = x + r * columns;
    A total = 0;
    for (std::int64_t i = lane; i < columns; i += kWarp) total += A(row[i]);
    const A m = warp_reduce(total, Sum()) / A(columns);
    A squares = 0;
    for (std::int64_t i = lane; i < columns; i += kWarp) squares += (A(row[i]) - m) * (A(row[i]) - m);
    const A s = A(1) / ::sqrt(warp_reduce(squares, Sum()) / A(columns) + A(epsilon));
    for (std::int64_t i = lane; i < columns; i += kWarp)
      out[r * columns + i] = T((A(row[i]) - m) * s * A(weight[i]) + A(bias[i]));
    if (lane == 0) {
      mean[r] = m;
      rstd[r] = s;
    }
  }
}

// With y = (x - m) s: dx = s (g w - mean(g w) - y mean(g w y)).
template <class T>
__global__ void layer_norm_grad_rows_kernel(const T* x, const T* weight, const Accumulator<T>* mean,
                                            const Accumulator<T>* rstd, const T* grad, std::int64_t rows,
                                            std::int64_t columns, T* grad_x) {
  using A = Accumulator<T>;
  const int lane = threadIdx.x;
  for (std::int64_t r = blockIdx.x * std::int64_t{kRowsPerBlock} + threadIdx.y; r < rows;
       r += gridDim.x * std::int64_t{kRowsPerBlock}) {
    const T *row = x + r * columns, *g = grad + r * columns;
    const A m = mean[r], s = rstd[r];
    A a = 0, b = 0;
    for (std::int64_t i = lane; i < columns; i += kWarp) {
      const A gw = A(g[i]) * A(weight[i]);
      a += gw;
      b += gw * (A(row[i]) - m) * s;
    }
    a = warp_reduce(a, Sum()) / A(columns);
    b = warp_reduce(b, Sum()) / A(columns);
    for (std::int64_t i = lane; i < columns; i += kWarp)
      grad_x[r * columns + i] = T(s * (A(g[i]) * A(weight[i]) - a - (A(row[i]) - m) * s * b));
  }
}

constexpr int kColumnRows = 8;  // warps of a block, taking turns down the rows of its piece

// Sums over the rows of one piece; `sums` is [2, pieces, columns]: of weight, then of bias.
template <class T>
__global__ void layer_norm_grad_columns_kernel(const T* x, const Accumulator<T>* mean, const Accumulator<T>* rstd,
                                               const T* grad, std::int64_t rows, std::int64_t columns,
                                               Accumulator<T>* sums) {
  using A = Accumulator<T>;
  __shared__ A partial[2][kColumnRows][kWarp];
  const std::int64_t pieces = gridDim.y, piece = blockIdx.y;
  const std::int64_t begin = rows * piece / pieces, end = rows * (piece + 1) / pieces;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  A w = 0, b = 0;
  if (c < columns) {
    for (std::int64_t r = begin + threadIdx.y; r < end; r += kColumnRows) {
      const A g = A(grad[r * columns + c]);
      w += g * (A(x[r * columns + c]) - mean[r]) * rstd[r];
      b += g;
    }
  }
  partial[0][threadIdx.y][threadIdx.x] = w;
  partial[1][threadIdx.y][threadIdx.x] = b;
  __syncthreads();
  if (threadIdx.y == 0 && c < columns) {
    for (int r = 1; r < kColumnRows; ++r) {
      w += partial[0][r][threadIdx.x];
      b += partial[1][r][threadIdx.x];
    }
    sums[piece * columns + c] = w;
    sums[(pieces + piece) * columns + c] = b;
  }
}

template <class A>
__global__ void add_pieces_kernel(const A* sums, std::int64_t pieces, std::int64_t columns, A* weight, A* bias) {
  for (std::int64_t c = cuda::first_item(); c < columns; c += cuda::item_stride()) {
    A w = 0, b = 0;
    for (std::int64_t p = 0; p < pieces; ++p) {
      w += sums[p * columns + c];
      b += sums[(pieces + p) * columns + c];
    }
    weight[c] = w;
    bias[c] = b;
  }
}

void layer_norm_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, Tensor& out,
                     Tensor& mean, Tensor& rstd) {
  const Queue queue("layer_norm", x.device());
  dispatch_floating(x.dtype(), "layer_norm", [&]<class T>() {
    using A = Accumulator<T>;
    queue.launch(layer_norm_rows_kernel<T>, row_blocks(x.size(0)), dim3(kWarp, kRowsPerBlock), 0, x.data<T>(),
                 weight.data<T>(), bias.data<T>(), epsilon, x.size(0), x.size(1), out.mutable_data<T>(),
                 mean.mutable_data<A>(), rstd.mutable_data<A>());
  });
}

template <class T>
void grad_typed(const Queue& queue, const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                const Tensor& grad, Tensor& grad_x, Tensor& grad_weight, Tensor& grad_bias) {
  using A = Accumulator<T>;
  const std::int64_t rows = x.size(0), columns = x.size(1);
  queue.launch(layer_norm_grad_rows_kernel<T>, row_blocks(rows), dim3(kWarp, kRowsPerBlock), 0, x.data<T>(),
               weight.data<T>(), mean.data<A>(), rstd.data<A>(), grad.data<T>(), rows, columns,
               grad_x.mutable_data<T>());
  constexpr std::int64_t kRowsPerPiece = 256, kMostPieces = 64;
  const std::int64_t wanted = (rows + kRowsPerPiece - 1) / kRowsPerPiece;
  const std::int64_t pieces = wanted < 1 ? 1 : wanted < kMostPieces ? wanted : kMostPieces;
  Tensor sums = Tensor::empty({2, pieces, columns}, dtype_of<A>, x.device());
  queue.launch(layer_norm_grad_columns_kernel<T>, Grid{(columns + kWarp - 1) / kWarp, pieces}, dim3(kWarp, kColumnRows),
               0, x.data<T>(), mean.data<A>(), rstd.data<A>(), grad.data<T>(), rows, columns, sums.mutable_data<A>());
  queue.launch(add_pieces_kernel<A>, queue.blocks_for(columns), cuda::kThreads, 0, sums.data<A>(), pieces, columns,
               grad_weight.mutable_data<A>(), grad_bias.mutable_data<A>());
}

void layer_norm_grad_cuda(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                          const Tensor& grad, Tensor& grad_x, Tensor& grad_weight, Tensor& grad_bias) {
  const Queue queue("layer_norm_grad", x.device());
  dispatch_floating(x.dtype(), "layer_norm_grad", [&]<class T>() {
    grad_typed<T>(queue, x, weight, mean, rstd, grad, grad_x, grad_weight, grad_bias);
  });
}

const Register r_layer_norm(layer_norm_kernel, DeviceType::kCuda, layer_norm_cuda);
const Register r_layer_norm_grad(layer_norm_grad_kernel, DeviceType::kCuda, layer_norm_grad_cuda);

}  // namespace
}  // namespace usol
