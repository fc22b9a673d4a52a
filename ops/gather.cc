#include "usol/ops/gather.h"

#include <algorithm>

#include "usol/autograd/tape.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> index_select_kernel{"index_select"};
constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> index_add_kernel{"index_add"};
constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> gather_kernel{"gather"};
constinit Kernel<void(const Tensor&, const Tensor&, Tensor&)> scatter_add_kernel{"scatter_add"};

namespace {

using IndexKernel = Kernel<void(const Tensor&, const Tensor&, Tensor&)>;

// A dense tensor seen as [outer, size(dim), inner].
Tensor around(const Tensor& a, int dim) {
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < a.rank(); ++d)
    if (d != dim) (d < dim ? outer : inner) *= a.size(d);
  return a.contiguous().reshape({outer, a.size(dim), inner});
}

void check_index(const char* op, const Tensor& a, const Tensor& index) {
  check(index.dtype() == DType::kI64, "{}: expected an i64 index, got {}", op, index.dtype());
  check(index.device() == a.device(), "{}: tensor on {}, index on {}", op, a.device(), index.device());
}

Tensor pick(const IndexKernel& kernel, const Tensor& a, const Tensor& index, const Shape& shape, int dim) {
  Tensor out = Tensor::empty(shape, a.dtype(), a.device());
  if (out.numel() == 0) return out;
  Tensor flat = around(out, dim);
  kernel(a.device(), around(a, dim), index, flat);
  return out;
}

// Sums 16-bit types in f32.
Tensor put(const IndexKernel& kernel, const Tensor& a, const Tensor& index, const Shape& shape, int dim) {
  const DType dtype = a.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  Tensor out = Tensor::zeros(shape, dtype, a.device());
  if (a.numel() > 0 && out.numel() > 0) {
    Tensor flat = around(out, dim);
    kernel(a.device(), around(a.to(dtype), dim), index, flat);
  }
  return out.to(a.dtype());
}

}  // namespace

Tensor index_select(const Tensor& a, const Tensor& index, int dim) {
  check_index("index_select", a, index);
  check(index.rank() == 1, "index_select: expected an index of one dimension, got shape {}", index.shape());
  dim = a.shape().index(dim);
  Shape shape = a.shape();
  shape[dim] = index.size(0);
  check(a.size(dim) > 0 || index.numel() == 0, "index_select: {} indices into dimension {} of {}", index.numel(), dim,
        a.shape());
  const Tensor dense = index.contiguous();
  const Tensor out = pick(index_select_kernel, a.detach(), dense, shape, dim);
  if (!is_floating(a.dtype())) return out;
  return record("index_select", {a}, out,
                [dim, from = a.shape(), saved = Saved(dense)](const Tensor& grad, const Needs&) {
                  return std::vector<Tensor>{put(index_add_kernel, grad, saved.get("index_select"), from, dim)};
                });
}

Tensor index_add(const Tensor& a, const Tensor& index, std::int64_t n, int dim) {
  check_index("index_add", a, index);
  check(is_floating(a.dtype()), "index_add: expected a floating dtype, got {}", a.dtype());
  dim = a.shape().index(dim);
  check(index.rank() == 1 && index.size(0) == a.size(dim) && n >= 0,
        "index_add: index of shape {} for dimension {} of {}", index.shape(), dim, a.shape());
  Shape shape = a.shape();
  shape[dim] = n;
  check(n > 0 || index.numel() == 0, "index_add: {} indices into no rows", index.numel());
  const Tensor dense = index.contiguous();
  return record("index_add", {a}, put(index_add_kernel, a.detach(), dense, shape, dim),
                [dim, from = a.shape(), saved = Saved(dense)](const Tensor& grad, const Needs&) {
                  return std::vector<Tensor>{pick(index_select_kernel, grad, saved.get("index_add"), from, dim)};
                });
}

Tensor gather(const Tensor& a, const Tensor& index, int dim) {
  check_index("gather", a, index);
  dim = a.shape().index(dim);
  bool fits = index.rank() == a.rank();
  for (int d = 0; fits && d < a.rank(); ++d) fits = d == dim || index.size(d) == a.size(d);
  check(fits, "gather: index of shape {} for dimension {} of {}", index.shape(), dim, a.shape());
  check(a.size(dim) > 0 || index.numel() == 0, "gather: {} indices into dimension {} of {}", index.numel(), dim,
        a.shape());
  const Tensor dense = around(index, dim);
  const Tensor out = pick(gather_kernel, a.detach(), dense, index.shape(), dim);
  if (!is_floating(a.dtype())) return out;
  return record("gather", {a}, out, [dim, from = a.shape(), saved = Saved(dense)](const Tensor& grad, const Needs&) {
    return std::vector<Tensor>{put(scatter_add_kernel, grad, saved.get("gather"), from, dim)};
  });
}

namespace {

// The sums' types: put() widens the 16-bit ones.
template <class F>
void dispatch_sum(DType dtype, F&& f) {
  if (dtype == DType::kF64) return f.template operator()<double>();
  f.template operator()<float>();
}

void check_range(const char* op, const Tensor& index, std::int64_t n) {
  const std::int64_t* values = index.data<std::int64_t>();
  for (std::int64_t i = 0; i < index.numel(); ++i)
    check(values[i] >= 0 && values[i] < n, "{}: index {} at position {} is outside [0, {})", op, values[i], i, n);
}

void index_select_cpu(const Tensor& in, const Tensor& index, Tensor& out) {
  const std::int64_t n = in.size(1), inner = in.size(2), m = out.size(1);
  check_range("index_select", index, n);
  const std::int64_t* at = index.data<std::int64_t>();
  dispatch_all(in.dtype(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    parallel_for(0, out.size(0) * m, std::max<std::int64_t>(1, 32768 / inner),
                 [&](std::int64_t first, std::int64_t end) {
                   for (std::int64_t row = first; row < end; ++row)
                     std::copy_n(from + (row / m * n + at[row % m]) * inner, inner, to + row * inner);
                 });
  });
}

// Threads share the columns, so that every sum is made in the order of the index.
void index_add_cpu(const Tensor& in, const Tensor& index, Tensor& out) {
  const std::int64_t n = out.size(1), inner = in.size(2), m = in.size(1);
  check_range("index_add", index, n);
  const std::int64_t* at = index.data<std::int64_t>();
  dispatch_sum(in.dtype(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    for (std::int64_t o = 0; o < in.size(0); ++o)
      parallel_for(0, inner, std::max<std::int64_t>(1, 32768 / m), [&](std::int64_t first, std::int64_t end) {
        for (std::int64_t i = 0; i < m; ++i) {
          const T* source = from + (o * m + i) * inner;
          T* target = to + (o * n + at[i]) * inner;
          for (std::int64_t c = first; c < end; ++c) target[c] += source[c];
        }
      });
  });
}

void gather_cpu(const Tensor& in, const Tensor& index, Tensor& out) {
  const std::int64_t n = in.size(1), inner = in.size(2), m = out.size(1);
  check_range("gather", index, n);
  const std::int64_t* at = index.data<std::int64_t>();
  dispatch_all(in.dtype(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    parallel_for(0, out.numel(), 16384, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i) to[i] = from[(i / (m * inner) * n + at[i]) * inner + i % inner];
    });
  });
}

void scatter_add_cpu(const Tensor& in, const Tensor& index, Tensor& out) {
  const std::int64_t n = out.size(1), inner = in.size(2), m = in.size(1);
  check_range("gather", index, n);
  const std::int64_t* at = index.data<std::int64_t>();
  dispatch_sum(in.dtype(), [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    parallel_for(0, in.size(0), std::max<std::int64_t>(1, 16384 / (m * inner)),
                 [&](std::int64_t first, std::int64_t end) {
                   for (std::int64_t i = first * m * inner; i < end * m * inner; ++i)
                     to[(i / (m * inner) * n + at[i]) * inner + i % inner] += from[i];
                 });
  });
}

const Register r_index_select(index_select_kernel, DeviceType::kCpu, index_select_cpu);
const Register r_index_add(index_add_kernel, DeviceType::kCpu, index_add_cpu);
const Register r_gather(gather_kernel, DeviceType::kCpu, gather_cpu);
const Register r_scatter_add(scatter_add_kernel, DeviceType::kCpu, scatter_add_cpu);

}  // namespace
}  // namespace usol
