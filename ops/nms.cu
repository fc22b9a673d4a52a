// Non-maximum suppression on CUDA: first a bit for every pair (which later boxes each box would suppress), then one
// block walks the boxes in order, its threads holding the words of suppressed bits.

#include <cuda_runtime.h>

#include "usol/ops/box.cuh"
#include "usol/ops/nms.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

constexpr int kBits = 64;

// bits[i, w]: bit b is set if box i overlaps box j = 64 w + b > i of its group too much.
template <class T>
__global__ void nms_pairs_kernel(const T* boxes, const std::int64_t* groups, std::int64_t n, std::int64_t words,
                                 T threshold, std::uint64_t* bits) {
  for (std::int64_t k = cuda::first_item(); k < n * words; k += cuda::item_stride()) {
    const std::int64_t i = k / words, first = k % words * kBits;
    std::uint64_t word = 0;
    if (first + kBits > i + 1) {
      const cuda::Box<T> box = cuda::load_box<T>(boxes, i);
      for (int b = 0; b < kBits && first + b < n; ++b)
        if (first + b > i && groups[i] == groups[first + b] &&
            cuda::iou(box, cuda::load_box<T>(boxes, first + b)) > threshold)
          word |= std::uint64_t{1} << b;
    }
    bits[k] = word;
  }
}

// One block. `suppressed` [words] starts as zeros.
__global__ void nms_walk_kernel(const std::uint64_t* bits, std::int64_t n, std::int64_t words,
                                std::uint64_t* suppressed, bool* keep) {
  for (std::int64_t i = 0; i < n; ++i) {
    const bool stays = (suppressed[i / kBits] >> (i % kBits) & 1) == 0;
    __syncthreads();
    if (threadIdx.x == 0) keep[i] = stays;
    if (stays)
      for (std::int64_t w = i / kBits + threadIdx.x; w < words; w += blockDim.x) suppressed[w] |= bits[i * words + w];
    __syncthreads();
  }
}

void nms_cuda(const Tensor& boxes, const Tensor& groups, double threshold, Tensor& keep) {
  const cuda::Queue queue("nms", boxes.device());
  const std::int64_t n = boxes.size(0), words = (n + kBits - 1) / kBits;
  Tensor bits = Tensor::empty({n, words}, DType::kI64, boxes.device());
  Tensor suppressed = Tensor::zeros({words}, DType::kI64, boxes.device());
  auto* pairs = reinterpret_cast<std::uint64_t*>(bits.mutable_data<std::int64_t>());
  const auto with = [&]<class T>() {
    queue.launch(nms_pairs_kernel<T>, queue.blocks_for(n * words), cuda::kThreads, 0, boxes.data<T>(),
                 groups.data<std::int64_t>(), n, words, static_cast<T>(threshold), pairs);
  };
  if (boxes.dtype() == DType::kF64)
    with.template operator()<double>();
  else
    with.template operator()<float>();
  keep.storage()->bump_version();
  queue.launch(nms_walk_kernel, {1}, cuda::kThreads, 0, pairs, n, words,
               reinterpret_cast<std::uint64_t*>(suppressed.mutable_data<std::int64_t>()),
               reinterpret_cast<bool*>(keep.raw()));
}

const Register r(nms_kernel, DeviceType::kCuda, nms_cuda);

}  // namespace
}  // namespace usol
