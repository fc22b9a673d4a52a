// The affinity's bits on CUDA: products tile by tile in f32 (never TF32), thresholded in registers; the n x n matrix of
// floats never exists. Each cosine is one sum over the features in ascending order, so a pair's two bits are equal.

#include <cuda_runtime.h>

#include "usol/maskcut/affinity.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol::maskcut {
namespace {

using cuda::kAllLanes;
using cuda::kWarp;
using cuda::Queue;

__global__ void unit_columns_kernel_cuda(const float* features, std::int64_t depth, std::int64_t n, std::int64_t count,
                                         float* unit, double* squares) {
  for (std::int64_t t = cuda::first_item(); t < count; t += cuda::item_stride()) {
    const std::int64_t start = t / n * depth * n + t % n;
    double square = 0;
    for (std::int64_t d = 0; d < depth; ++d) {
      const double v = features[start + d * n];
      square += v * v;
    }
    squares[t] = square;
    const double length = ::sqrt(square), factor = 1 / (length > 1e-12 ? length : 1e-12);
    for (std::int64_t d = 0; d < depth; ++d) unit[start + d * n] = static_cast<float>(features[start + d * n] * factor);
  }
}

constexpr int kTile = 64;   // rows and columns of a tile: a word of the bit matrix
constexpr int kDepth = 16;  // features in shared memory at a time
constexpr int kTileThreads = 256;
constexpr int kRowsOfWarp = kTile / (kTileThreads / kWarp);

// Block (p, image): the p-th of the tiles on and above the diagonal, and its mirror image. A warp has eight rows and
// all 64 columns, so that two ballots are a word.
__global__ void __launch_bounds__(kTileThreads)
    similar_pairs_kernel_cuda(const float* unit, std::int64_t depth, std::int64_t n, std::int64_t words, float tau,
                              bool inclusive, std::uint64_t* bits) {
  __shared__ float rows[kDepth][kTile], columns[kDepth][kTile];
  __shared__ std::uint64_t tile[kTile];
  std::int64_t row_tile = 0, rest = blockIdx.x;
  for (; rest >= words - row_tile; ++row_tile) rest -= words - row_tile;
  const std::int64_t column_tile = row_tile + rest;
  unit += blockIdx.y * depth * n;
  bits += blockIdx.y * words * words * kTile;
  const int lane = threadIdx.x % kWarp, first_row = threadIdx.x / kWarp * kRowsOfWarp;

  float low[kRowsOfWarp] = {}, high[kRowsOfWarp] = {};
  for (std::int64_t first = 0; first < depth; first += kDepth) {
    for (int t = threadIdx.x; t < kDepth * kTile; t += kTileThreads) {
      const std::int64_t d = first + t / kTile, row = row_tile * kTile + t % kTile,
                         column = column_tile * kTile + t % kTile;
      rows[t / kTile][t % kTile] = d < depth && row < n ? unit[d * n + row] : 0.0f;
      columns[t / kTile][t % kTile] = d < depth && column < n ? unit[d * n + column] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const float left = columns[d][lane], right = columns[d][lane + kWarp];
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const float v = rows[d][first_row + r];
        low[r] += v * left;
        high[r] += v * right;
      }
    }
    __syncthreads();
  }
  const std::int64_t column = column_tile * kTile + lane;
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    const bool is_row = row_tile * kTile + first_row + r < n;
    const bool in_low = inclusive ? low[r] >= tau : low[r] > tau, in_high = inclusive ? high[r] >= tau : high[r] > tau;
    const std::uint64_t lower = __ballot_sync(kAllLanes, is_row && column < n && in_low);
    const std::uint64_t upper = __ballot_sync(kAllLanes, is_row && column + kWarp < n && in_high);
    if (lane == 0) tile[first_row + r] = lower | upper << 32;
  }
  __syncthreads();
  const int t = threadIdx.x % kTile;
  if (threadIdx.x < kTile) {
    const std::int64_t row = row_tile * kTile + t;
    bits[(row / 8 * words + column_tile) * 8 + row % 8] = tile[t];
  } else if (threadIdx.x < 2 * kTile && row_tile != column_tile) {
    std::uint64_t word = 0;
    for (int r = 0; r < kTile; ++r) word |= (tile[r] >> t & 1) << r;
    const std::int64_t row = column_tile * kTile + t;
    bits[(row / 8 * words + row_tile) * 8 + row % 8] = word;
  }
}

void unit_columns_cuda(const Tensor& features, Tensor& unit, Tensor& squares) {
  const Queue queue("unit_columns", features.device());
  const std::int64_t count = squares.numel();
  queue.launch(unit_columns_kernel_cuda, queue.blocks_for(count), cuda::kThreads, 0, features.data<float>(),
               features.size(1), features.size(2), count, unit.mutable_data<float>(), squares.mutable_data<double>());
}

void similar_pairs_cuda(const Tensor& unit, double tau, bool inclusive, Tensor& bits) {
  const Queue queue("similar_pairs", unit.device());
  const std::int64_t words = bits.size(2);
  queue.launch(similar_pairs_kernel_cuda, {words * (words + 1) / 2, unit.size(0)}, kTileThreads, 0, unit.data<float>(),
               unit.size(1), unit.size(2), words, static_cast<float>(tau), inclusive,
               reinterpret_cast<std::uint64_t*>(bits.mutable_data<std::int64_t>()));
}

const Register r_unit(unit_columns_kernel, DeviceType::kCuda, unit_columns_cuda);
const Register r_pairs(similar_pairs_kernel, DeviceType::kCuda, similar_pairs_cuda);

}  // namespace
}  // namespace usol::maskcut
