// Copies, casts, fills and transfers on CUDA. Casts go by dtype at run time inside one kernel: 64 pairs of types would
// be 64 kernels, and the branch is the same for all threads, so memory sets the pace either way.

#include <cuda_runtime.h>

#include <cstdint>

#include "usol/tensor/copy.h"
#include "usol/tensor/cuda/any.cuh"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/cuda/strided.cuh"

namespace usol {
namespace {

using cuda::first_item;
using cuda::item_stride;
using cuda::kThreads;
using cuda::Queue;
using cuda::StridedIndex;

__global__ void cast_kernel(void* dst, DType to, const void* src, DType from, StridedIndex<2> index,
                            std::int64_t count) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t at[2];
    index.offsets(i, at);
    cuda::store_any(dst, to, at[0], cuda::load_any(src, from, at[1]));
  }
}

// Same dtype, so elements are moved as words of their size.
template <class Word>
__global__ void move_kernel(Word* dst, const Word* src, StridedIndex<2> index, std::int64_t count) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t at[2];
    index.offsets(i, at);
    dst[at[0]] = src[at[1]];
  }
}

__global__ void fill_strided_kernel(void* dst, DType dtype, StridedIndex<1> index, std::int64_t count, double value) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t at[1];
    index.offsets(i, at);
    cuda::store_any(dst, dtype, at[0], {false, value, 0});
  }
}

void copy_cuda(const Tensor& src, Tensor& dst) {
  if (dst.numel() == 0) return;
  const Queue queue("copy", dst.device());
  dst.storage()->bump_version();
  const StridedIndex<2> index(dst.shape(), {dst.strides(), src.strides()});
  const std::size_t size = size_of(dst.dtype());
  if (src.dtype() != dst.dtype()) {
    queue.launch(cast_kernel, queue.blocks_for(dst.numel()), kThreads, 0, dst.raw(), dst.dtype(), src.raw(),
                 src.dtype(), index, dst.numel());
  } else if (index.dense()) {
    USOL_CUDA_CHECK(cudaMemcpyAsync(dst.raw(), src.raw(), static_cast<std::size_t>(dst.numel()) * size,
                                    cudaMemcpyDeviceToDevice, queue.stream()));
  } else {
    cuda::dispatch_word(size, [&]<class Word>() {
      queue.launch(move_kernel<Word>, queue.blocks_for(dst.numel()), kThreads, 0, reinterpret_cast<Word*>(dst.raw()),
                   reinterpret_cast<const Word*>(src.raw()), index, dst.numel());
    });
  }
}

void fill_cuda(double value, Tensor& dst) {
  if (dst.numel() == 0) return;
  const Queue queue("fill", dst.device());
  dst.storage()->bump_version();
  const StridedIndex<1> index(dst.shape(), {dst.strides()});
  queue.launch(fill_strided_kernel, queue.blocks_for(dst.numel()), kThreads, 0, dst.raw(), dst.dtype(), index,
               dst.numel(), value);
}

void transfer_cuda(void* dst, const void* src, std::size_t bytes, bool to_device) {
  cudaPointerAttributes attributes{};
  USOL_CUDA_CHECK(cudaPointerGetAttributes(&attributes, to_device ? dst : src));
  const Queue queue("transfer", Device::cuda(attributes.device));
  USOL_CUDA_CHECK(
      cudaMemcpyAsync(dst, src, bytes, to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, queue.stream()));
  USOL_CUDA_CHECK(cudaStreamSynchronize(queue.stream()));
}

const Register r_copy(copy_kernel, DeviceType::kCuda, copy_cuda);
const Register r_fill(fill_kernel, DeviceType::kCuda, fill_cuda);
const Register r_transfer(transfer_kernel, DeviceType::kCuda, transfer_cuda);

}  // namespace
}  // namespace usol
