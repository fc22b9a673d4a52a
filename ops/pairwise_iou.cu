// Overlaps of boxes on CUDA: a thread per pair. Products and sums are rounded one by one, as on the CPU: a contracted
// multiply-add would move pairs across the matchers' thresholds.

#include <cuda_runtime.h>

#include "usol/ops/box.cuh"
#include "usol/ops/pairwise_iou.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

template <class T>
__global__ void pairwise_iou_elements_kernel(const T* a, const T* b, std::int64_t n, std::int64_t count, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride())
    out[i] = T(cuda::iou(cuda::load_box<A>(a, i / n), cuda::load_box<A>(b, i % n)));
}

void pairwise_iou_cuda(const Tensor& a, const Tensor& b, Tensor& out) {
  const cuda::Queue queue("pairwise_iou", out.device());
  dispatch_floating(out.dtype(), "pairwise_iou", [&]<class T>() {
    queue.launch(pairwise_iou_elements_kernel<T>, queue.blocks_for(out.numel()), cuda::kThreads, 0, a.data<T>(),
                 b.data<T>(), b.size(0), out.numel(), out.mutable_data<T>());
  });
}

const Register r(pairwise_iou_kernel, DeviceType::kCuda, pairwise_iou_cuda);

}  // namespace
}  // namespace usol
