#include "usol/ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, Tensor&)> rope_kernel{"rope"};

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  check(x.rank() == 4 && is_floating(x.dtype()) && x.size(3) % 2 == 0,
        "rope: expected floating queries or keys [N, H, L, D] with an even D, got {} {}", x.dtype(), x.shape());
  const std::int64_t tokens = x.size(2), width = x.size(3);
  const bool wide = cos.dtype() == DType::kF32 || cos.dtype() == DType::kF64;
  check(cos.rank() == 2 && cos.size(0) <= tokens && cos.size(1) == width && sin.shape() == cos.shape() && wide &&
            sin.dtype() == cos.dtype() && cos.device() == x.device() && sin.device() == x.device(),
        "rope: expected cos and sin f32 or f64 [at most {}, {}] on {}, got {} {} on {} and {} {} on {}", tokens, width,
        x.device(), cos.dtype(), cos.shape(), cos.device(), sin.dtype(), sin.shape(), sin.device());
  const DType dtype = x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor c = cos.detach().to(dtype).contiguous(), s = sin.detach().to(dtype).contiguous();
  const Saved saved_cos(c), saved_sin(s);
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Tensor plain = x.detach();
  const bool dense = plain.strides()[3] == 1 || width == 1;
  rope_kernel(x.device(), dense ? plain : plain.contiguous(), c, s, out);
  return record("rope", {x}, out, [saved_cos, saved_sin, width](const Tensor& grad, const Needs&) {
    // Turned the other way: what a number gave to the other half comes back from there.
    const Tensor& sines = saved_sin.get("rope");
    const Tensor back = neg(concat({slice(sines, 1, width / 2, width), slice(sines, 1, 0, width / 2)}, 1));
    return std::vector<Tensor>{rope(grad, saved_cos.get("rope"), back)};
  });
}

Tensor rope_periods(std::int64_t width, double base) {
  check(width > 0 && width % 4 == 0 && base > 0,
        "rope_periods: expected a width that four divides and a positive base, got {} and {}", width, base);
  Tensor periods = Tensor::empty({width / 4});
  for (std::int64_t i = 0; i < width / 4; ++i)
    periods.mutable_data<float>()[i] =
        static_cast<float>(std::pow(base, static_cast<double>(i) / static_cast<double>(width / 4)));
  return periods;
}

RopeTable rope_table(std::int64_t h, std::int64_t w, const Tensor& periods) {
  check(h > 0 && w > 0 && periods.rank() == 1 && periods.size(0) > 0 && is_floating(periods.dtype()),
        "rope_table: expected patches and floating periods [D / 4], got {} x {} and {} {}", h, w, periods.dtype(),
        periods.shape());
  const auto period = periods.to(Device{}).to(DType::kF64).contiguous().to_vector<double>();
  const auto n = static_cast<std::int64_t>(period.size()), width = 4 * n;
  RopeTable table{Tensor::empty({h * w, width}), Tensor::empty({h * w, width})};
  // [side, n]: one side's angles.
  const auto angles = [&](std::int64_t side) {
    std::vector<double> all;
    for (std::int64_t i = 0; i < side; ++i)
      for (const double p : period)
        all.push_back(2 * std::numbers::pi * (2 * (static_cast<double>(i) + 0.5) / static_cast<double>(side) - 1) / p);
    return all;
  };
  const auto fill = [&](Tensor& to, double (*function)(double)) {
    std::vector<double> rows = angles(h), columns = angles(w);
    std::transform(rows.begin(), rows.end(), rows.begin(), function);
    std::transform(columns.begin(), columns.end(), columns.begin(), function);
    float* out = to.mutable_data<float>();
    for (std::int64_t p = 0; p < h * w; ++p)
      for (int half = 0; half < 2; ++half) {
        out = std::copy_n(rows.begin() + p / w * n, n, out);
        out = std::copy_n(columns.begin() + p % w * n, n, out);
      }
  };
  fill(table.cos, [](double a) { return std::cos(a); });
  fill(table.sin, [](double a) { return std::sin(a); });
  return table;
}

namespace {

void rope_cpu(const Tensor& x, const Tensor& cos, const Tensor& sin, Tensor& out) {
  const std::int64_t heads = x.size(1), tokens = x.size(2), width = x.size(3), half = width / 2;
  const std::int64_t first = tokens - cos.size(0);
  const Shape& strides = x.strides();
  dispatch_floating(x.dtype(), "rope", [&]<class T>() {
    using A = Accumulator<T>;
    const T* from = x.data<T>();
    const A *c = cos.data<A>(), *s = sin.data<A>();
    T* to = out.mutable_data<T>();
    parallel_for(0, x.size(0) * heads * tokens, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row) {
                     const std::int64_t token = row % tokens, head = row / tokens % heads, n = row / tokens / heads;
                     const T *a = from + n * strides[0] + head * strides[1] + token * strides[2], *b = a + half;
                     T* y = to + row * width;
                     if (token < first) {
                       std::copy_n(a, width, y);
                       continue;
                     }
                     const A *cs = c + (token - first) * width, *sn = s + (token - first) * width;
                     for (std::int64_t i = 0; i < half; ++i) y[i] = T(A(a[i]) * cs[i] - A(b[i]) * sn[i]);
                     for (std::int64_t i = 0; i < half; ++i)
                       y[half + i] = T(A(b[i]) * cs[half + i] + A(a[i]) * sn[half + i]);
                   }
                 });
  });
}

const Register r_rope(rope_kernel, DeviceType::kCpu, rope_cpu);

}  // namespace
}  // namespace usol
