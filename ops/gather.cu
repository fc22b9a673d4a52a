// Elements by index on CUDA. Sums (the gradients) belong to one thread each, which adds in the order of the index: no
// atomics, the same bits in every run. An index out of range stops the kernel (the error comes at the next wait).

#include <cuda_runtime.h>

#include "usol/ops/gather.h"
#include "usol/tensor/cuda/any.cuh"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::first_item;
using cuda::item_stride;
using cuda::kThreads;
using cuda::Queue;

__device__ std::int64_t checked(std::int64_t index, std::int64_t n) {
  if (index < 0 || index >= n) __trap();
  return index;
}

// index [m] if kRows, else [outer, m, inner].
template <class Word, bool kRows>
__global__ void pick_kernel(const Word* in, const std::int64_t* index, std::int64_t n, std::int64_t m,
                            std::int64_t inner, std::int64_t count, Word* out) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    const std::int64_t c = i % inner, j = i / inner % m, o = i / inner / m;
    out[i] = in[(o * n + checked(index[kRows ? j : i], n)) * inner + c];
  }
}

// A thread per column (outer, inner): it alone adds to that column of `out`.
template <class T, bool kRows>
__global__ void put_kernel(const T* in, const std::int64_t* index, std::int64_t n, std::int64_t m, std::int64_t inner,
                           std::int64_t columns, T* out) {
  for (std::int64_t i = first_item(); i < columns; i += item_stride()) {
    const std::int64_t c = i % inner, o = i / inner;
    for (std::int64_t j = 0; j < m; ++j) {
      const std::int64_t at = (o * m + j) * inner + c;
      out[(o * n + checked(index[kRows ? j : at], n)) * inner + c] += in[at];
    }
  }
}

template <bool kRows>
void pick(const char* op, const Tensor& in, const Tensor& index, Tensor& out) {
  const Queue queue(op, in.device());
  out.storage()->bump_version();
  cuda::dispatch_word(size_of(in.dtype()), [&]<class Word>() {
    queue.launch(pick_kernel<Word, kRows>, queue.blocks_for(out.numel()), kThreads, 0,
                 reinterpret_cast<const Word*>(in.raw()), index.data<std::int64_t>(), in.size(1), out.size(1),
                 in.size(2), out.numel(), reinterpret_cast<Word*>(out.raw()));
  });
}

template <bool kRows>
void put(const char* op, const Tensor& in, const Tensor& index, Tensor& out) {
  const Queue queue(op, in.device());
  const auto launch = [&]<class T>() {
    constexpr int kFew = 64;  // columns are few and long: spread them over more blocks
    const std::int64_t columns = in.size(0) * in.size(2);
    queue.launch(put_kernel<T, kRows>, queue.blocks_for(columns, kFew), kFew, 0, in.data<T>(),
                 index.data<std::int64_t>(), out.size(1), in.size(1), in.size(2), columns, out.mutable_data<T>());
  };
  if (in.dtype() == DType::kF64)
    launch.template operator()<double>();
  else
    launch.template operator()<float>();
}

void index_select_cuda(const Tensor& in, const Tensor& index, Tensor& out) {
  pick<true>("index_select", in, index, out);
}
void index_add_cuda(const Tensor& in, const Tensor& index, Tensor& out) { put<true>("index_add", in, index, out); }
void gather_cuda(const Tensor& in, const Tensor& index, Tensor& out) { pick<false>("gather", in, index, out); }
void scatter_add_cuda(const Tensor& in, const Tensor& index, Tensor& out) { put<false>("scatter_add", in, index, out); }

const Register r_index_select(index_select_kernel, DeviceType::kCuda, index_select_cuda);
const Register r_index_add(index_add_kernel, DeviceType::kCuda, index_add_cuda);
const Register r_gather(gather_kernel, DeviceType::kCuda, gather_cuda);
const Register r_scatter_add(scatter_add_kernel, DeviceType::kCuda, scatter_add_cuda);

}  // namespace
}  // namespace usol
