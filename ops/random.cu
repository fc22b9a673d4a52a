// Random tensors on CUDA: the numbers of ops/random.cc, element by element.

#include <cuda_runtime.h>

#include "usol/ops/random.h"
#include "usol/ops/random_math.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

template <class T>
__global__ void random_elements_kernel(Distribution distribution, RandomState state, double a, double b,
                                       std::int64_t count, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride()) {
    const auto word = [&](std::uint64_t position) { return Generator::word(state.seed, state.stream, position); };
    const auto at = static_cast<std::uint64_t>(i);
    if (distribution == Distribution::kUniform) {
      out[i] = T(A(random::uniform(a, b, word(state.first + at))));
    } else {
      const std::uint64_t first = state.first + 2 * at;
      out[i] = T(A(random::normal(a, b, word(first), word(first + 1))));
    }
  }
}

void random_cuda(Distribution distribution, const RandomState& state, double a, double b, Tensor& out) {
  const cuda::Queue queue("random", out.device());
  dispatch_floating(out.dtype(), "random", [&]<class T>() {
    queue.launch(random_elements_kernel<T>, queue.blocks_for(out.numel()), cuda::kThreads, 0, distribution, state, a, b,
                 out.numel(), out.mutable_data<T>());
  });
}

const Register r(random_kernel, DeviceType::kCuda, random_cuda);

}  // namespace
}  // namespace usol
