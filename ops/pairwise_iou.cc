#include "usol/ops/pairwise_iou.h"

#include <algorithm>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> pairwise_iou_kernel{"pairwise_iou"};

Tensor pairwise_iou(const Tensor& a, const Tensor& b) {
  check(a.rank() == 2 && b.rank() == 2 && a.size(1) == 4 && b.size(1) == 4,
        "pairwise_iou: expected boxes [M, 4] and [N, 4], got {} and {}", a.shape(), b.shape());
  check(is_floating(a.dtype()) && a.dtype() == b.dtype() && a.device() == b.device(),
        "pairwise_iou: expected boxes of one floating dtype and device, got {} on {} and {} on {}", a.dtype(),
        a.device(), b.dtype(), b.device());
  Tensor out = Tensor::empty({a.size(0), b.size(0)}, a.dtype(), a.device());
  pairwise_iou_kernel(a.device(), a.detach().contiguous(), b.detach().contiguous(), out);
  return out;
}

namespace {

template <class A>
struct Box {
  template <class T>
  explicit Box(const T* corners) : x0(corners[0]), y0(corners[1]), x1(corners[2]), y1(corners[3]) {}
  A area() const { return (x1 - x0) * (y1 - y0); }
  A x0, y0, x1, y1;
};

template <class A>
A iou(const Box<A>& p, const Box<A>& q) {
  const A width = std::min(p.x1, q.x1) - std::max(p.x0, q.x0), height = std::min(p.y1, q.y1) - std::max(p.y0, q.y0);
  if (!(width > 0 && height > 0)) return 0;
  return width * height / (p.area() + q.area() - width * height);
}

void pairwise_iou_cpu(const Tensor& a, const Tensor& b, Tensor& out) {
  const std::int64_t n = b.size(0);
  dispatch_floating(a.dtype(), "pairwise_iou", [&]<class T>() {
    using A = Accumulator<T>;
    const T *first_box = a.data<T>(), *second_box = b.data<T>();
    T* to = out.mutable_data<T>();
    parallel_for(0, a.size(0), std::max<std::int64_t>(1, 4096 / (n + 1)), [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i) {
        const Box<A> p(first_box + 4 * i);
        for (std::int64_t j = 0; j < n; ++j) to[i * n + j] = T(iou(p, Box<A>(second_box + 4 * j)));
      }
    });
  });
}

const Register r_pairwise_iou(pairwise_iou_kernel, DeviceType::kCpu, pairwise_iou_cpu);

}  // namespace
}  // namespace usol
