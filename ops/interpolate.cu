// Resampling on CUDA: a thread per output element.

#include <cuda_runtime.h>

#include "usol/ops/interpolate.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

template <class T>
__global__ void resample_elements_kernel(const T* x, const std::int32_t* index, const Accumulator<T>* weight,
                                         std::int64_t in, std::int64_t rows, std::int64_t inner, std::int64_t taps,
                                         std::int64_t count, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t e = cuda::first_item(); e < count; e += cuda::item_stride()) {
    const std::int64_t b = e % inner, i = e / inner % rows, a = e / inner / rows;
    A total = 0;
    for (std::int64_t t = 0; t < taps; ++t)
      total += weight[i * taps + t] * A(x[(a * in + index[i * taps + t]) * inner + b]);
    out[e] = T(total);
  }
}

void resample_cuda(const Tensor& x, const Tensor& index, const Tensor& weight, Tensor& out) {
  const cuda::Queue queue("resample", x.device());
  dispatch_floating(x.dtype(), "resample", [&]<class T>() {
    queue.launch(resample_elements_kernel<T>, queue.blocks_for(out.numel()), cuda::kThreads, 0, x.data<T>(),
                 index.data<std::int32_t>(), weight.data<Accumulator<T>>(), x.size(1), out.size(1), x.size(2),
                 index.size(1), out.numel(), out.mutable_data<T>());
  });
}

const Register r(resample_kernel, DeviceType::kCuda, resample_cuda);

}  // namespace
}  // namespace usol
