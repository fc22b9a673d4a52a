// Sums and maxima over dimensions on CUDA. The order of every sum depends on the shape alone: a long row is cut into a
// number of pieces that its length decides, each piece is summed by one block, and a second pass sums the pieces.

#include <cuda_runtime.h>

#include <limits>

#include "usol/ops/reduce.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Grid;
using cuda::kWarp;
using cuda::Queue;

template <class A>
__device__ A neutral(ReduceOp op) {
  return op == ReduceOp::kSum ? A(0) : -std::numeric_limits<A>::infinity();
}

struct Combine {
  ReduceOp op;
  template <class A>
  __device__ A operator()(A a, A b) const {
    return op == ReduceOp::kSum ? cuda::Sum()(a, b) : cuda::Max()(a, b);
  }
};

constexpr int kRowThreads = 256;

// A block per output and piece: block (o, s) reduces piece s of row o. For rows whose elements lie close together.
template <class T, class R>
__global__ void reduce_rows_kernel(ReduceOp op, const T* in, std::int64_t inner, std::int64_t stride_outer,
                                   std::int64_t stride_inner, R* out) {
  using A = Accumulator<T>;
  __shared__ A scratch[kWarp];
  const std::int64_t pieces = gridDim.y, o = blockIdx.x, piece = blockIdx.y;
  const std::int64_t begin = inner * piece / pieces, end = inner * (piece + 1) / pieces;
  const Combine combine{op};
  A total = neutral<A>(op);
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
    total = combine(total, A(in[o * stride_outer + i * stride_inner]));
  total = cuda::block_reduce(total, combine, neutral<A>(op), scratch);
  if (threadIdx.x == 0) out[o * pieces + piece] = R(total);
}

constexpr int kColumnRows = 8;

// Threads of a warp take neighbouring outputs, the block's eight warps take turns down the column. For columns: outputs
// that are neighbours in memory.
template <class T, class R>
__global__ void reduce_columns_kernel(ReduceOp op, const T* in, std::int64_t outer, std::int64_t inner,
                                      std::int64_t stride_outer, std::int64_t stride_inner, R* out) {
  using A = Accumulator<T>;
  __shared__ A partial[kColumnRows][kWarp];
  const std::int64_t pieces = gridDim.y, piece = blockIdx.y;
  const std::int64_t begin = inner * piece / pieces, end = inner * (piece + 1) / pieces;
  const std::int64_t o = static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  const Combine combine{op};
  A total = neutral<A>(op);
  if (o < outer)
    for (std::int64_t i = begin + threadIdx.y; i < end; i += kColumnRows)
      total = combine(total, A(in[o * stride_outer + i * stride_inner]));
  partial[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y == 0 && o < outer) {
    for (int r = 1; r < kColumnRows; ++r) total = combine(total, partial[r][threadIdx.x]);
    out[o * pieces + piece] = R(total);
  }
}

template <class T, class R>
void reduce_pass(const Queue& queue, ReduceOp op, const T* in, std::int64_t outer, std::int64_t inner,
                 std::int64_t stride_outer, std::int64_t stride_inner, std::int64_t pieces, R* out) {
  if (stride_outer < stride_inner)
    queue.launch(reduce_columns_kernel<T, R>, {(outer + kWarp - 1) / kWarp, pieces}, dim3(kWarp, kColumnRows), 0, op,
                 in, outer, inner, stride_outer, stride_inner, out);
  else
    queue.launch(reduce_rows_kernel<T, R>, {outer, pieces}, kRowThreads, 0, op, in, inner, stride_outer, stride_inner,
                 out);
}

template <class T>
void reduce_typed(const Queue& queue, ReduceOp op, const Tensor& in, Tensor& out) {
  using A = Accumulator<T>;
  const std::int64_t outer = in.size(0), inner = in.size(1), so = in.strides()[0], si = in.strides()[1];
  const T* from = in.data<T>();
  T* to = out.mutable_data<T>();
  // Few outputs with long rows would leave most of the device idle: cut the rows, 8192 elements or more a piece.
  constexpr std::int64_t kPiece = 8192, kManyOutputs = 4096, kMostPieces = 512;
  const std::int64_t wanted = outer < kManyOutputs ? inner / kPiece : 1;
  const std::int64_t pieces = wanted < 1 ? 1 : wanted < kMostPieces ? wanted : kMostPieces;
  if (pieces == 1) return reduce_pass<T, T>(queue, op, from, outer, inner, so, si, 1, to);
  Tensor partial = Tensor::empty({outer, pieces}, dtype_of<A>, in.device());
  A* sums = partial.mutable_data<A>();
  reduce_pass<T, A>(queue, op, from, outer, inner, so, si, pieces, sums);
  reduce_pass<A, T>(queue, op, sums, outer, pieces, pieces, 1, 1, to);
}

void reduce_cuda(ReduceOp op, const Tensor& in, Tensor& out) {
  if (out.numel() == 0) return;
  const Queue queue("reduce", in.device());
  dispatch_floating(in.dtype(), "reduce", [&]<class T>() { reduce_typed<T>(queue, op, in, out); });
}

const Register r(reduce_kernel, DeviceType::kCuda, reduce_cuda);

}  // namespace
}  // namespace usol
