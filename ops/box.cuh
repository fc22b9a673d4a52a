#pragma once
// Boxes x0 y0 x1 y1 and their overlap on the device, for pairwise_iou.cu and nms.cu. Products and sums are rounded one
// by one, as on the CPU: a contracted multiply-add would move pairs across thresholds.

#include <cuda_runtime.h>

#include <cstdint>

namespace usol::cuda {

template <class A>
struct Box {
  A x0, y0, x1, y1;
};

/// Box number i of dense [N, 4].
template <class A, class T>
__device__ Box<A> load_box(const T* boxes, std::int64_t i) {
  return {A(boxes[4 * i]), A(boxes[4 * i + 1]), A(boxes[4 * i + 2]), A(boxes[4 * i + 3])};
}

__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

/// Intersection over union; 0 where they do not overlap.
template <class A>
__device__ A iou(const Box<A>& p, const Box<A>& q) {
  const A width = (p.x1 < q.x1 ? p.x1 : q.x1) - (p.x0 > q.x0 ? p.x0 : q.x0);
  const A height = (p.y1 < q.y1 ? p.y1 : q.y1) - (p.y0 > q.y0 ? p.y0 : q.y0);
  if (!(width > 0 && height > 0)) return 0;
  const A common = product(width, height);
  return common / (product(p.x1 - p.x0, p.y1 - p.y0) + product(q.x1 - q.x0, q.y1 - q.y0) - common);
}

}  // namespace usol::cuda
