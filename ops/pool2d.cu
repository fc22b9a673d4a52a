// Max pooling on CUDA: a thread per output element forward, a thread per element of x backward, so that no two threads
// add to one number.

#include <cuda_runtime.h>

#include "usol/ops/pool2d.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Queue;

struct Windows {
  std::int64_t c, h, w, out_h, out_w;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, step_h, step_w;
};

Windows windows(const Shape& x, const Shape& y, const MaxPool2dOptions& o) {
  return {x[1],        x[2],        x[3],         y[2],         y[3],          o.kernel[0],  o.kernel[1],
          o.stride[0], o.stride[1], o.padding[0], o.padding[1], o.dilation[0], o.dilation[1]};
}

template <class T>
__global__ void max_pool2d_forward_kernel(Windows s, const T* x, std::int64_t count, T* out, std::int32_t* index) {
  using A = Accumulator<T>;
  for (std::int64_t e = cuda::first_item(); e < count; e += cuda::item_stride()) {
    const std::int64_t c = e % s.c, ow = e / s.c % s.out_w, oh = e / (s.c * s.out_w) % s.out_h,
                       image = e / (s.c * s.out_w * s.out_h);
    std::int64_t taken = -1;
    A best = 0;
    for (std::int64_t i = 0; i < s.kernel_h; ++i) {
      const std::int64_t h = oh * s.stride_h - s.pad_h + i * s.step_h;
      if (h < 0 || h >= s.h) continue;
      for (std::int64_t j = 0; j < s.kernel_w; ++j) {
        const std::int64_t w = ow * s.stride_w - s.pad_w + j * s.step_w;
        if (w < 0 || w >= s.w) continue;
        const A value = A(x[((image * s.h + h) * s.w + w) * s.c + c]);
        if (taken < 0 || value > best || value != value) {
          best = value;
          taken = h * s.w + w;
        }
      }
    }
    out[e] = taken < 0 ? T(-A(INFINITY)) : T(best);  // none: a dilated window that steps over a narrow map
    if (index != nullptr) index[e] = static_cast<std::int32_t>(taken);
  }
}

template <class T>
__global__ void max_pool2d_backward_kernel(Windows s, const T* grad, const std::int32_t* index, std::int64_t count,
                                           T* out) {
  using A = Accumulator<T>;
  for (std::int64_t e = cuda::first_item(); e < count; e += cuda::item_stride()) {
    const std::int64_t c = e % s.c, w = e / s.c % s.w, h = e / (s.c * s.w) % s.h, image = e / (s.c * s.w * s.h);
    A total = 0;
    for (std::int64_t i = 0; i < s.kernel_h; ++i) {
      const std::int64_t above = h + s.pad_h - i * s.step_h;
      if (above < 0 || above % s.stride_h != 0 || above / s.stride_h >= s.out_h) continue;
      for (std::int64_t j = 0; j < s.kernel_w; ++j) {
        const std::int64_t left = w + s.pad_w - j * s.step_w;
        if (left < 0 || left % s.stride_w != 0 || left / s.stride_w >= s.out_w) continue;
        const std::int64_t from = ((image * s.out_h + above / s.stride_h) * s.out_w + left / s.stride_w) * s.c + c;
        if (index[from] == h * s.w + w) total += A(grad[from]);
      }
    }
    out[e] = T(total);
  }
}

void max_pool2d_cuda(const Tensor& x, const MaxPool2dOptions& options, Tensor& out, Tensor& index) {
  const Queue queue("max_pool2d", x.device());
  dispatch_floating(x.dtype(), "max_pool2d", [&]<class T>() {
    queue.launch(max_pool2d_forward_kernel<T>, queue.blocks_for(out.numel()), cuda::kThreads, 0,
                 windows(x.shape(), out.shape(), options), x.data<T>(), out.numel(), out.mutable_data<T>(),
                 index.defined() ? index.mutable_data<std::int32_t>() : nullptr);
  });
}

void max_pool2d_grad_cuda(const Tensor& grad, const Tensor& index, const MaxPool2dOptions& options, Tensor& out) {
  const Queue queue("max_pool2d_grad", grad.device());
  dispatch_floating(grad.dtype(), "max_pool2d_grad", [&]<class T>() {
    queue.launch(max_pool2d_backward_kernel<T>, queue.blocks_for(out.numel()), cuda::kThreads, 0,
                 windows(out.shape(), grad.shape(), options), grad.data<T>(), index.data<std::int32_t>(), out.numel(),
                 out.mutable_data<T>());
  });
}

const Register r_max_pool2d(max_pool2d_kernel, DeviceType::kCuda, max_pool2d_cuda);
const Register r_max_pool2d_grad(max_pool2d_grad_kernel, DeviceType::kCuda, max_pool2d_grad_cuda);

}  // namespace
}  // namespace usol
