#include "usol/ops/topk.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "usol/ops/gather.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, Tensor&)> topk_kernel{"topk"};

namespace {

// Indices [..., k] of the last dimension.
Tensor top_indices(const char* name, const Tensor& a, std::int64_t k) {
  check(is_floating(a.dtype()) && a.rank() > 0, "{}: expected a floating tensor with dimensions, got {} of shape {}",
        name, a.dtype(), a.shape());
  const std::int64_t n = a.size(-1);
  check(k >= 0 && k <= n, "{}: {} of {} elements asked for", name, k, n);
  Shape shape = a.shape();
  shape[-1] = k;
  Tensor indices = Tensor::empty(shape, DType::kI64, a.device());
  if (indices.numel() > 0) {
    Tensor rows = indices.reshape({indices.numel() / k, k});
    topk_kernel(a.device(), a.contiguous().reshape({rows.size(0), n}), rows);
  }
  return indices;
}

}  // namespace

TopK topk(const Tensor& a, std::int64_t k) {
  const Tensor indices = top_indices("topk", a.detach(), k);
  return {gather(a, indices, -1), indices};
}

Tensor argmax(const Tensor& a, int dim) {
  check(a.rank() > 0 && a.size(dim) > 0, "argmax: over no elements, shape {}", a.shape());
  return top_indices("argmax", a.detach().transpose(dim, -1), 1).transpose(dim, -1).squeeze(dim);
}

namespace {

void topk_cpu(const Tensor& a, Tensor& indices) {
  const std::int64_t n = a.size(1), k = indices.size(1);
  std::int64_t* to = indices.mutable_data<std::int64_t>();
  dispatch_floating(a.dtype(), "topk", [&]<class T>() {
    using A = Accumulator<T>;
    const T* from = a.data<T>();
    parallel_for(0, a.size(0), std::max<std::int64_t>(1, 4096 / n), [&](std::int64_t first, std::int64_t end) {
      std::vector<std::int64_t> order;
      for (std::int64_t r = first; r < end; ++r) {
        const T* row = from + r * n;
        const auto before = [row](std::int64_t i, std::int64_t j) {
          const A x = A(row[i]), y = A(row[j]);
          if (x == y || (x != x && y != y)) return i < j;
          return x > y || x != x;
        };
        if (k == 1) {
          std::int64_t best = 0;
          for (std::int64_t i = 1; i < n; ++i)
            if (before(i, best)) best = i;
          to[r] = best;
          continue;
        }
        order.resize(static_cast<std::size_t>(n));
        std::iota(order.begin(), order.end(), std::int64_t{0});
        if (k < n) std::nth_element(order.begin(), order.begin() + k, order.end(), before);
        std::sort(order.begin(), order.begin() + k, before);
        std::copy_n(order.begin(), k, to + r * k);
      }
    });
  });
}

const Register r_topk(topk_kernel, DeviceType::kCpu, topk_cpu);

}  // namespace
}  // namespace usol
