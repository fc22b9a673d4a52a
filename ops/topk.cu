// The largest elements on CUDA: a bitonic sort of (value, index) pairs, so that ties are settled and nothing depends on
// timing. Rows are padded to a power of two; steps within kShared pairs happen in shared memory.
// Source: Batcher 1968, "Sorting networks and their applications".

#include <cuda_runtime.h>

#include <bit>
#include <cstring>

#include "usol/ops/topk.h"
#include "usol/tensor/cuda/any.cuh"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::first_item;
using cuda::item_stride;
using cuda::kThreads;
using cuda::kWarp;
using cuda::Queue;

// Ascending order of pairs is the order of topk(): larger values first, NaN before all, then ascending index.
struct Pair {
  std::uint64_t key;
  std::int64_t index;
};
__device__ inline bool before(const Pair& a, const Pair& b) {
  return a.key != b.key ? a.key < b.key : a.index < b.index;
}

__device__ inline Pair pair_of(const void* data, DType dtype, std::int64_t at, std::int64_t index) {
  const double value = cuda::load_any(data, dtype, at).real;
  if (value != value) return {0, index};
  const auto bits = std::bit_cast<std::uint64_t>(value + 0.0);  // -0 becomes 0, its equal
  const std::uint64_t sign = std::uint64_t{1} << 63;
  const std::uint64_t ascending = (bits & sign) != 0 ? ~bits : bits | sign;
  return {~ascending, index};  // of a number never 0
}

// Behind every real pair.
__device__ inline Pair padding(std::int64_t index) { return {~std::uint64_t{0}, index}; }

struct Least {
  __device__ Pair operator()(const Pair& a, const Pair& b) const { return before(a, b) ? a : b; }
};

// A block per row.
__global__ void argmax_rows_kernel(const void* data, DType dtype, std::int64_t n, std::int64_t* indices) {
  __shared__ Pair scratch[kWarp];
  Pair best = padding(n);
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x)
    best = Least()(best, pair_of(data, dtype, blockIdx.x * n + i, i));
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    best = Least()(best, {__shfl_xor_sync(cuda::kAllLanes, best.key, offset),
                          __shfl_xor_sync(cuda::kAllLanes, best.index, offset)});
  const int warp = threadIdx.x / kWarp;
  if (threadIdx.x % kWarp == 0) scratch[warp] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned w = 1; w < blockDim.x / kWarp; ++w) best = Least()(best, scratch[w]);
    indices[blockIdx.x] = best.index;
  }
}

__global__ void make_pairs_kernel(const void* data, DType dtype, std::int64_t n, std::int64_t padded,
                                  std::int64_t count, Pair* pairs) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    const std::int64_t row = i / padded, at = i % padded;
    pairs[i] = at < n ? pair_of(data, dtype, row * n + at, at) : padding(at);
  }
}

// One comparison of the network: elements `low` and low + distance, ascending where bit `size` of the position is 0.
__device__ inline void compare_exchange(Pair& a, Pair& b, bool ascending) {
  if (before(b, a) == ascending) {
    const Pair t = a;
    a = b;
    b = t;
  }
}

constexpr std::int64_t kShared = 2048;  // pairs of a block, 32 KB
constexpr int kSharedThreads = 512;

// All steps with distances below kShared: of the sizes from 2 to kShared (first = 2), or of the one size `last`.
__global__ void sort_shared_kernel(Pair* pairs, std::int64_t padded, std::int64_t first_size, std::int64_t last_size) {
  __shared__ Pair tile[kShared];
  const std::int64_t length = padded < kShared ? padded : kShared;
  const std::int64_t start = blockIdx.x * length;
  for (std::int64_t i = threadIdx.x; i < length; i += blockDim.x) tile[i] = pairs[start + i];
  for (std::int64_t size = first_size; size <= last_size; size *= 2) {
    for (std::int64_t distance = (size < length ? size : length) / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (std::int64_t t = threadIdx.x; t < length / 2; t += blockDim.x) {
        const std::int64_t low = 2 * t - t % distance;
        compare_exchange(tile[low], tile[low + distance], ((start + low) % padded & size) == 0);
      }
    }
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < length; i += blockDim.x) pairs[start + i] = tile[i];
}

__global__ void sort_step_kernel(Pair* pairs, std::int64_t padded, std::int64_t size, std::int64_t distance,
                                 std::int64_t half_count) {
  for (std::int64_t t = first_item(); t < half_count; t += item_stride()) {
    const std::int64_t low = 2 * t - t % distance;
    compare_exchange(pairs[low], pairs[low + distance], (low % padded & size) == 0);
  }
}

__global__ void write_indices_kernel(const Pair* pairs, std::int64_t padded, std::int64_t k, std::int64_t count,
                                     std::int64_t* indices) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) indices[i] = pairs[i / k * padded + i % k].index;
}

void topk_cuda(const Tensor& a, Tensor& indices) {
  const Queue queue("topk", a.device());
  const std::int64_t rows = a.size(0), n = a.size(1), k = indices.size(1);
  auto* out = indices.mutable_data<std::int64_t>();
  if (k == 1) return queue.launch(argmax_rows_kernel, {rows}, kThreads, 0, a.raw(), a.dtype(), n, out);
  std::int64_t padded = 2;
  while (padded < n) padded *= 2;
  const std::int64_t count = rows * padded;
  Tensor memory = Tensor::empty({count, 2}, DType::kI64, a.device());
  static_assert(sizeof(Pair) == 2 * sizeof(std::int64_t));
  auto* pairs = reinterpret_cast<Pair*>(memory.mutable_data<std::int64_t>());
  queue.launch(make_pairs_kernel, queue.blocks_for(count), kThreads, 0, a.raw(), a.dtype(), n, padded, count, pairs);
  const std::int64_t tile = padded < kShared ? padded : kShared, tiles = count / tile;
  queue.launch(sort_shared_kernel, {tiles}, kSharedThreads, 0, pairs, padded, std::int64_t{2}, tile);
  for (std::int64_t size = 2 * tile; size <= padded; size *= 2) {
    for (std::int64_t distance = size / 2; distance >= tile; distance /= 2)
      queue.launch(sort_step_kernel, queue.blocks_for(count / 2), kThreads, 0, pairs, padded, size, distance,
                   count / 2);
    queue.launch(sort_shared_kernel, {tiles}, kSharedThreads, 0, pairs, padded, size, size);
  }
  queue.launch(write_indices_kernel, queue.blocks_for(rows * k), kThreads, 0, pairs, padded, k, rows * k, out);
}

const Register r(topk_kernel, DeviceType::kCuda, topk_cuda);

}  // namespace
}  // namespace usol
