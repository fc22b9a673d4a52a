// Comparisons, choices and positions on CUDA.

#include <cuda_runtime.h>

#include "usol/ops/compare.h"
#include "usol/ops/compare_math.h"
#include "usol/tensor/cuda/any.cuh"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/cuda/strided.cuh"

namespace usol {
namespace {

using cuda::first_item;
using cuda::item_stride;
using cuda::kThreads;
using cuda::kWarp;
using cuda::Queue;
using cuda::StridedIndex;

__global__ void compare_elements_kernel(CompareOp op, const void* a, const void* b, DType dtype, StridedIndex<3> index,
                                        std::int64_t count, bool* out) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t at[3];
    index.offsets(i, at);
    const cuda::Any x = cuda::load_any(a, dtype, at[1]), y = cuda::load_any(b, dtype, at[2]);
    out[at[0]] = x.integer ? holds(op, x.whole, y.whole) : holds(op, x.real, y.real);
  }
}

template <class Word>
__global__ void where_elements_kernel(const bool* mask, const Word* a, const Word* b, StridedIndex<4> index,
                                      std::int64_t count, Word* out) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t at[4];
    index.offsets(i, at);
    out[at[0]] = mask[at[1]] ? a[at[2]] : b[at[3]];
  }
}

// Positions in ascending order: every block counts its piece, one block turns counts into offsets, and every block
// writes its piece behind its offset.
constexpr std::int64_t kPiece = 4096;

__global__ void count_pieces_kernel(const bool* mask, std::int64_t n, std::int64_t* counts) {
  __shared__ int scratch[kWarp];
  const std::int64_t begin = blockIdx.x * kPiece;
  int count = 0;
  for (std::int64_t i = begin + threadIdx.x; i < n && i < begin + kPiece; i += blockDim.x) count += mask[i];
  count = cuda::block_reduce(count, cuda::Sum(), 0, scratch);
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

// counts[i] becomes the sum of those before it; counts[pieces] the total. One warp.
__global__ void scan_pieces_kernel(std::int64_t* counts, std::int64_t pieces) {
  const int lane = threadIdx.x;
  std::int64_t before = 0;
  for (std::int64_t first = 0; first < pieces; first += kWarp) {
    const std::int64_t own = first + lane < pieces ? counts[first + lane] : 0;
    std::int64_t sum = own;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const std::int64_t lower = __shfl_up_sync(cuda::kAllLanes, sum, offset);
      if (lane >= offset) sum += lower;
    }
    if (first + lane < pieces) counts[first + lane] = before + sum - own;
    before += __shfl_sync(cuda::kAllLanes, sum, kWarp - 1);
  }
  if (lane == 0) counts[pieces] = before;
}

// A warp per piece: each round of 32 elements is written in the order of its lanes.
__global__ void write_positions_kernel(const bool* mask, std::int64_t n, const std::int64_t* offsets,
                                       std::int64_t* out) {
  const int lane = threadIdx.x;
  const std::int64_t begin = blockIdx.x * kPiece;
  std::int64_t to = offsets[blockIdx.x];
  for (std::int64_t first = begin; first < n && first < begin + kPiece; first += kWarp) {
    const bool set = first + lane < n && mask[first + lane];
    const unsigned lanes = __ballot_sync(cuda::kAllLanes, set);
    if (set) out[to + __popc(lanes & ((1u << lane) - 1))] = first + lane;
    to += __popc(lanes);
  }
}

void compare_cuda(CompareOp op, const Tensor& a, const Tensor& b, Tensor& out) {
  if (out.numel() == 0) return;
  const Queue queue("compare", out.device());
  const StridedIndex<3> index(out.shape(), {out.strides(), a.strides(), b.strides()});
  queue.launch(compare_elements_kernel, queue.blocks_for(out.numel()), kThreads, 0, op, a.raw(), b.raw(), a.dtype(),
               index, out.numel(), out.mutable_data<bool>());
}

void where_cuda(const Tensor& mask, const Tensor& a, const Tensor& b, Tensor& out) {
  if (out.numel() == 0) return;
  const Queue queue("where", out.device());
  out.storage()->bump_version();
  const StridedIndex<4> index(out.shape(), {out.strides(), mask.strides(), a.strides(), b.strides()});
  cuda::dispatch_word(size_of(a.dtype()), [&]<class Word>() {
    queue.launch(where_elements_kernel<Word>, queue.blocks_for(out.numel()), kThreads, 0, mask.data<bool>(),
                 reinterpret_cast<const Word*>(a.raw()), reinterpret_cast<const Word*>(b.raw()), index, out.numel(),
                 reinterpret_cast<Word*>(out.raw()));
  });
}

void nonzero_cuda(const Tensor& mask, Tensor& out) {
  const Queue queue("nonzero", mask.device());
  const std::int64_t n = mask.numel(), pieces = (n + kPiece - 1) / kPiece;
  const bool* from = mask.data<bool>();
  Tensor counts = Tensor::empty({pieces + 1}, DType::kI64, mask.device());
  auto* sums = counts.mutable_data<std::int64_t>();
  queue.launch(count_pieces_kernel, {pieces}, kThreads, 0, from, n, sums);
  queue.launch(scan_pieces_kernel, {1}, kWarp, 0, sums, pieces);
  const auto total = static_cast<std::int64_t>(counts.select(0, pieces).item());
  out = Tensor::empty({total}, DType::kI64, mask.device());
  if (total > 0)
    queue.launch(write_positions_kernel, {pieces}, kWarp, 0, from, n, sums, out.mutable_data<std::int64_t>());
}

const Register r_compare(compare_kernel, DeviceType::kCuda, compare_cuda);
const Register r_where(where_kernel, DeviceType::kCuda, where_cuda);
const Register r_nonzero(nonzero_kernel, DeviceType::kCuda, nonzero_cuda);

}  // namespace
}  // namespace usol
