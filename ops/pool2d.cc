#include "usol/ops/pool2d.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/pool2d.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/check.h"
#include "usol/tensor/for_vectors-inl.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void largest_of(const T* const* rows, std::size_t count, std::int64_t n, T* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
    auto best = load(d, rows[0] + i);
    for (std::size_t k = 1; k < count; ++k) {
      const auto x = load(d, rows[k] + i);
      best = hn::IfThenElse(hn::Or(hn::Gt(x, best), hn::IsNaN(x)), x, best);
    }
    store(d, best, to + i);
  });
}
void largest_f32(const float* const* rows, std::size_t count, std::int64_t n, float* to) {
  largest_of(rows, count, n, to);
}
void largest_bf16(const bf16* const* rows, std::size_t count, std::int64_t n, bf16* to) {
  largest_of(rows, count, n, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(largest_f32);
HWY_EXPORT(largest_bf16);

constinit Kernel<void(const Tensor&, const MaxPool2dOptions&, Tensor&, Tensor&)> max_pool2d_kernel{"max_pool2d"};
constinit Kernel<void(const Tensor&, const Tensor&, const MaxPool2dOptions&, Tensor&)> max_pool2d_grad_kernel{
    "max_pool2d_grad"};

namespace {

std::int64_t pooled_size(std::int64_t size, const MaxPool2dOptions& o, std::size_t axis) {
  const std::int64_t room = size + 2 * o.padding[axis] - o.dilation[axis] * (o.kernel[axis] - 1) - 1;
  if (room < 0) return 0;
  std::int64_t count = (room + (o.ceil_mode ? o.stride[axis] - 1 : 0)) / o.stride[axis] + 1;
  if (o.ceil_mode && (count - 1) * o.stride[axis] >= size + o.padding[axis]) --count;
  return count;
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options) {
  check(x.rank() == 4 && is_floating(x.dtype()), "max_pool2d: expected a floating map [N, C, H, W], got {} {}",
        x.dtype(), x.shape());
  for (std::size_t a = 0; a < 2; ++a)
    check(options.kernel[a] >= 1 && options.stride[a] >= 1 && options.dilation[a] >= 1 && options.padding[a] >= 0 &&
              2 * options.padding[a] <= options.kernel[a],
          "max_pool2d: expected positive kernel, stride and dilation and a padding of at most half the kernel");
  const Shape shape{x.size(0), x.size(1), pooled_size(x.size(2), options, 0), pooled_size(x.size(3), options, 1)};
  check(shape[2] > 0 && shape[3] > 0 && x.size(1) > 0, "max_pool2d: no window fits the map {}", x.shape());
  check(x.size(2) * x.size(3) <= std::numeric_limits<std::int32_t>::max(),
        "max_pool2d: a map of {} has too many pixels", x.shape());
  Tensor out = empty_channels_last(shape, x.dtype(), x.device()), index;
  if (grad_enabled() && requires_grad(x)) index = empty_channels_last(shape, DType::kI32, x.device());
  if (out.numel() > 0) max_pool2d_kernel(x.device(), to_channels_last(x.detach()), options, out, index);
  const Shape x_shape = x.shape();
  return record("max_pool2d", {x}, out, [=](const Tensor& grad, const Needs&) {
    Tensor g = empty_channels_last(x_shape, grad.dtype(), grad.device());
    if (g.numel() > 0) max_pool2d_grad_kernel(grad.device(), to_channels_last(grad), index, options, g);
    return std::vector<Tensor>{g};
  });
}

namespace {

// to[i] = the largest of rows[k][i], k < count, i < n; a NaN wins.
void largest(const std::vector<const float*>& rows, std::int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(largest_f32)(rows.data(), rows.size(), n, to);
}
void largest(const std::vector<const bf16*>& rows, std::int64_t n, bf16* to) {
  HWY_DYNAMIC_DISPATCH(largest_bf16)(rows.data(), rows.size(), n, to);
}
template <class T>
void largest(const std::vector<const T*>& rows, std::int64_t n, T* to) {
  using A = Accumulator<T>;
  std::copy_n(rows[0], n, to);
  for (const T* row : rows)
    for (std::int64_t i = 0; i < n; ++i) to[i] = A(row[i]) > A(to[i]) || A(row[i]) != A(row[i]) ? row[i] : to[i];
}

template <class T>
void max_pool_typed(const Tensor& x, const MaxPool2dOptions& o, Tensor& out, Tensor& index) {
  using A = Accumulator<T>;
  const std::int64_t c = x.size(1), h = x.size(2), w = x.size(3), out_h = out.size(2), out_w = out.size(3);
  const T* from = x.data<T>();
  T* to = out.mutable_data<T>();
  std::int32_t* to_index = index.defined() ? index.mutable_data<std::int32_t>() : nullptr;
  parallel_for(0, out.size(0) * out_h, 1, [&](std::int64_t first, std::int64_t end) {
    std::vector<const T*> window;
    std::vector<std::int32_t> numbers;  // of the window's pixels
    for (std::int64_t line = first; line < end; ++line) {
      const std::int64_t image = line / out_h, top = line % out_h * o.stride[0] - o.padding[0];
      for (std::int64_t ow = 0; ow < out_w; ++ow) {
        const std::int64_t left = ow * o.stride[1] - o.padding[1];
        window.clear();
        numbers.clear();
        for (std::int64_t i = 0; i < o.kernel[0]; ++i) {
          const std::int64_t y = top + i * o.dilation[0];
          if (y < 0 || y >= h) continue;
          for (std::int64_t j = 0; j < o.kernel[1]; ++j) {
            const std::int64_t at = left + j * o.dilation[1];
            if (at < 0 || at >= w) continue;
            window.push_back(from + ((image * h + y) * w + at) * c);
            numbers.push_back(static_cast<std::int32_t>(y * w + at));
          }
        }
        T* best = to + (line * out_w + ow) * c;
        std::int32_t* best_index = to_index ? to_index + (line * out_w + ow) * c : nullptr;
        if (window.empty()) {  // a dilated window that steps over a narrow map
          std::fill_n(best, c, T(-std::numeric_limits<A>::infinity()));
          if (best_index) std::fill_n(best_index, c, -1);
        } else if (best_index) {
          std::copy_n(window[0], c, best);
          std::fill_n(best_index, c, numbers[0]);
          for (std::size_t p = 1; p < window.size(); ++p) {
            const T* pixel = window[p];
            for (std::int64_t k = 0; k < c; ++k) {
              const bool wins = A(pixel[k]) > A(best[k]) || A(pixel[k]) != A(pixel[k]);
              best[k] = wins ? pixel[k] : best[k];
              best_index[k] = wins ? numbers[p] : best_index[k];
            }
          }
        } else {
          largest(window, c, best);
        }
      }
    }
  });
}

// Threads share the map's own lines and look for the windows that took from them, in a fixed order.
template <class T>
void max_pool_grad_typed(const Tensor& grad, const Tensor& index, const MaxPool2dOptions& o, Tensor& out) {
  using A = Accumulator<T>;
  const std::int64_t c = out.size(1), h = out.size(2), w = out.size(3), out_h = grad.size(2), out_w = grad.size(3);
  const T* from = grad.data<T>();
  const std::int32_t* taken = index.data<std::int32_t>();
  T* to = out.mutable_data<T>();
  parallel_for(0, out.size(0) * h, 1, [&](std::int64_t first, std::int64_t end) {
    std::vector<A> sums(static_cast<std::size_t>(w * c));
    for (std::int64_t line = first; line < end; ++line) {
      const std::int64_t image = line / h, y = line % h;
      std::fill(sums.begin(), sums.end(), A(0));
      for (std::int64_t i = 0; i < o.kernel[0]; ++i) {
        const std::int64_t above = y + o.padding[0] - i * o.dilation[0];
        if (above < 0 || above % o.stride[0] != 0 || above / o.stride[0] >= out_h) continue;
        const std::int64_t row = (image * out_h + above / o.stride[0]) * out_w * c;
        for (std::int64_t e = 0; e < out_w * c; ++e) {
          const std::int64_t column = taken[row + e] - y * w;
          if (column >= 0 && column < w) sums[static_cast<std::size_t>(column * c + e % c)] += A(from[row + e]);
        }
      }
      for (std::int64_t e = 0; e < w * c; ++e) to[line * w * c + e] = T(sums[static_cast<std::size_t>(e)]);
    }
  });
}

void max_pool2d_cpu(const Tensor& x, const MaxPool2dOptions& options, Tensor& out, Tensor& index) {
  dispatch_floating(x.dtype(), "max_pool2d", [&]<class T>() { max_pool_typed<T>(x, options, out, index); });
}
void max_pool2d_grad_cpu(const Tensor& grad, const Tensor& index, const MaxPool2dOptions& options, Tensor& out) {
  dispatch_floating(grad.dtype(), "max_pool2d", [&]<class T>() { max_pool_grad_typed<T>(grad, index, options, out); });
}

const Register r_max_pool2d(max_pool2d_kernel, DeviceType::kCpu, max_pool2d_cpu);
const Register r_max_pool2d_grad(max_pool2d_grad_kernel, DeviceType::kCpu, max_pool2d_grad_cpu);

}  // namespace
}  // namespace usol
#endif
