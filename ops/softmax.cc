#include "usol/ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/ops/softmax_rows.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(bool, const Tensor&, Tensor&)> softmax_kernel{"softmax"};
constinit Kernel<void(bool, const Tensor&, const Tensor&, Tensor&)> softmax_grad_kernel{"softmax_grad"};

namespace {

// [rows, n] dense, with `dim` last; and back to a tensor of `shape`.
Tensor to_rows(const Tensor& a, int dim) {
  const std::int64_t n = a.size(dim);
  return a.transpose(dim, -1).contiguous().reshape({n == 0 ? 0 : a.numel() / n, n});
}
Tensor from_rows(const Tensor& rows, const Shape& shape, int dim) {
  Shape moved = shape;
  std::swap(moved[dim], moved[-1]);
  return rows.reshape(moved).transpose(dim, -1);
}

Tensor softmax_op(const char* name, bool log, const Tensor& a, int dim) {
  check(is_floating(a.dtype()) && a.rank() > 0, "{}: expected a floating tensor with dimensions, got {} of shape {}",
        name, a.dtype(), a.shape());
  const Shape shape = a.shape();
  dim = shape.index(dim);
  const Tensor in = to_rows(a.detach(), dim);
  Tensor out = Tensor::empty(in.shape(), a.dtype(), a.device());
  if (out.numel() > 0) softmax_kernel(a.device(), log, in, out);
  const Saved saved(out);
  return record(name, {a}, from_rows(out, shape, dim), [=](const Tensor& grad, const Needs&) {
    const Tensor g = to_rows(grad, dim);
    Tensor grad_in = Tensor::empty(g.shape(), g.dtype(), g.device());
    if (g.numel() > 0) softmax_grad_kernel(g.device(), log, saved.get(name), g, grad_in);
    return std::vector<Tensor>{from_rows(grad_in, shape, dim)};
  });
}

}  // namespace

Tensor softmax(const Tensor& a, int dim) { return softmax_op("softmax", false, a, dim); }
Tensor log_softmax(const Tensor& a, int dim) { return softmax_op("log_softmax", true, a, dim); }

namespace {

template <class F>
void for_rows(std::int64_t rows, std::int64_t n, F&& f) {
  parallel_for(0, rows, std::max<std::int64_t>(1, 8192 / n), f);
}

// The specification, used for f64.
void softmax_row(bool log, const double* in, double* out, std::int64_t n) {
  double top = -std::numeric_limits<double>::infinity(), total = 0;
  for (std::int64_t i = 0; i < n; ++i) top = std::max(top, in[i]);
  for (std::int64_t i = 0; i < n; ++i) total += out[i] = std::exp(in[i] - top);
  for (std::int64_t i = 0; i < n; ++i) out[i] = log ? in[i] - top - std::log(total) : out[i] / total;
}

void softmax_cpu(bool log, const Tensor& in, Tensor& out) {
  const std::int64_t rows = in.size(0), n = in.size(1);
  dispatch_floating(in.dtype(), "softmax", [&]<class T>() {
    const T* from = in.data<T>();
    T* to = out.mutable_data<T>();
    for_rows(rows, n, [&](std::int64_t first, std::int64_t end) {
      if constexpr (std::is_same_v<T, float>) {
        softmax_rows(log, from + first * n, to + first * n, end - first, n);
      } else if constexpr (std::is_same_v<T, double>) {
        for (std::int64_t r = first; r < end; ++r) softmax_row(log, from + r * n, to + r * n, n);
      } else {
        std::vector<float> row(static_cast<std::size_t>(n));
        for (std::int64_t r = first; r < end; ++r) {
          std::copy_n(from + r * n, n, row.data());
          softmax_rows(log, row.data(), row.data(), 1, n);
          std::transform(row.begin(), row.end(), to + r * n, [](float x) { return T(x); });
        }
      }
    });
  });
}

void softmax_grad_cpu(bool log, const Tensor& out, const Tensor& grad_out, Tensor& grad_in) {
  const std::int64_t rows = out.size(0), n = out.size(1);
  dispatch_floating(out.dtype(), "softmax_grad", [&]<class T>() {
    using A = Accumulator<T>;
    const T *y = out.data<T>(), *g = grad_out.data<T>();
    T* to = grad_in.mutable_data<T>();
    for_rows(rows, n, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t r = first * n; r < end * n; r += n) {
        A total = 0;
        for (std::int64_t i = r; i < r + n; ++i) total += log ? A(g[i]) : A(g[i]) * A(y[i]);
        for (std::int64_t i = r; i < r + n; ++i)
          to[i] = T(log ? A(g[i]) - std::exp(A(y[i])) * total : A(y[i]) * (A(g[i]) - total));
      }
    });
  });
}

const Register r_softmax(softmax_kernel, DeviceType::kCpu, softmax_cpu);
const Register r_softmax_grad(softmax_grad_kernel, DeviceType::kCpu, softmax_grad_cpu);

}  // namespace
}  // namespace usol
