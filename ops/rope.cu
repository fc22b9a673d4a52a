// Rotary position embedding on CUDA: a thread per pair of numbers that are turned into each other.

#include <cuda_runtime.h>

#include "usol/ops/rope.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::kThreads;
using cuda::Queue;

// Where x [N, H, L, D] is: strides in elements, the last is 1.
struct Places {
  std::int64_t heads, tokens, first, half;  // `first` token that is turned
  std::int64_t of_picture, of_head, of_token;
};

template <class T>
__global__ void rope_pairs_kernel(const T* x, Places p, const Accumulator<T>* cos, const Accumulator<T>* sin,
                                  std::int64_t count, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t item = cuda::first_item(); item < count; item += cuda::item_stride()) {
    const std::int64_t i = item % p.half, row = item / p.half;
    const std::int64_t token = row % p.tokens, head = row / p.tokens % p.heads, n = row / p.tokens / p.heads;
    const T* from = x + n * p.of_picture + head * p.of_head + token * p.of_token + i;
    T* to = out + row * 2 * p.half + i;
    if (token < p.first) {
      to[0] = from[0];
      to[p.half] = from[p.half];
      continue;
    }
    const A a = A(from[0]), b = A(from[p.half]);
    const std::int64_t at = (token - p.first) * 2 * p.half + i;
    to[0] = T(a * cos[at] - b * sin[at]);
    to[p.half] = T(b * cos[at + p.half] + a * sin[at + p.half]);
  }
}

void rope_cuda(const Tensor& x, const Tensor& cos, const Tensor& sin, Tensor& out) {
  const Queue queue("rope", x.device());
  const Shape& strides = x.strides();
  const Places places{x.size(1), x.size(2), x.size(2) - cos.size(0), x.size(3) / 2, strides[0], strides[1], strides[2]};
  const std::int64_t count = x.numel() / 2;
  dispatch_floating(x.dtype(), "rope", [&]<class T>() {
    queue.launch(rope_pairs_kernel<T>, queue.blocks_for(count), kThreads, 0, x.data<T>(), places,
                 cos.data<Accumulator<T>>(), sin.data<Accumulator<T>>(), count, out.mutable_data<T>());
  });
}

const Register r_rope(rope_kernel, DeviceType::kCuda, rope_cuda);

}  // namespace
}  // namespace usol
