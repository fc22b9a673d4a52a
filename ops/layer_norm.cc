#include "usol/ops/layer_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/ops/layer_norm_bf16.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, double, Tensor&, Tensor&, Tensor&)>
    layer_norm_kernel{"layer_norm"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&, Tensor&,
                      Tensor&)>
    layer_norm_grad_kernel{"layer_norm_grad"};

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  check(x.rank() >= 1 && x.size(-1) > 0 && weight.shape() == Shape{x.size(-1)} && bias.shape() == weight.shape(),
        "layer_norm: expected x [..., C] and weight, bias [C], got {}, {}, {}", x.shape(), weight.shape(),
        bias.shape());
  check(is_floating(x.dtype()) && x.dtype() == weight.dtype() && x.dtype() == bias.dtype(),
        "layer_norm: expected one floating dtype, got {}, {}, {}", x.dtype(), weight.dtype(), bias.dtype());
  const std::int64_t columns = x.size(-1), rows = x.numel() / columns;
  const DType statistics = x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor flat = x.detach().contiguous().reshape({rows, columns});
  Tensor out = Tensor::empty({rows, columns}, x.dtype(), x.device());
  Tensor mean = Tensor::empty({rows}, statistics, x.device()), rstd = Tensor::empty({rows}, statistics, x.device());
  layer_norm_kernel(x.device(), flat, weight.detach().contiguous(), bias.detach().contiguous(), epsilon, out, mean,
                    rstd);
  const Saved sx(flat), sw(weight);
  const Shape shape = x.shape();
  return record("layer_norm", {x, weight, bias}, out.reshape(shape), [=](const Tensor& grad, const Needs&) {
    const Tensor& input = sx.get("layer_norm");
    Tensor gx = Tensor::empty(input.shape(), input.dtype(), input.device());
    Tensor gw = Tensor::empty({columns}, statistics, input.device()),
           gb = Tensor::empty({columns}, statistics, input.device());
    layer_norm_grad_kernel(input.device(), input, sw.get("layer_norm").contiguous(), mean, rstd,
                           grad.contiguous().reshape({rows, columns}), gx, gw, gb);
    return std::vector<Tensor>{gx.reshape(shape), gw.to(input.dtype()), gb.to(input.dtype())};
  });
}

namespace {

constexpr std::int64_t kLanes = 16;  // partial sums per row, so that the compiler can vectorise a sum

template <class T, class A, class F>
A row_sum(std::int64_t count, F term) {
  A lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
  for (; i < count; ++i) lanes[0] += term(i);
  A total = 0;
  for (A lane : lanes) total += lane;
  return total;
}

template <class T>
void layer_norm_typed(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, Tensor& out,
                      Tensor& mean, Tensor& rstd) {
  using A = Accumulator<T>;
  const std::int64_t rows = x.size(0), columns = x.size(1);
  const T *from = x.data<T>(), *w = weight.data<T>(), *b = bias.data<T>();
  T* to = out.mutable_data<T>();
  A *means = mean.mutable_data<A>(), *rstds = rstd.mutable_data<A>();
  parallel_for(0, rows, std::max<std::int64_t>(1, 16384 / columns), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const T* row = from + r * columns;
      T* result = to + r * columns;
      const A m = row_sum<T, A>(columns, [&](std::int64_t i) { return A(row[i]); }) / A(columns);
      const A variance =
          row_sum<T, A>(columns, [&](std::int64_t i) { return (A(row[i]) - m) * (A(row[i]) - m); }) / A(columns);
      const A s = A(1) / std::sqrt(variance + A(epsilon));
      for (std::int64_t i = 0; i < columns; ++i) result[i] = T((A(row[i]) - m) * s * A(w[i]) + A(b[i]));
      means[r] = m;
      rstds[r] = s;
    }
  });
}

// With y = (x - m) s: dx = s (g w - mean(g w) - y mean(g w y)).
template <class T>
void layer_norm_grad_typed(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                           const Tensor& grad, Tensor& grad_x, Tensor& grad_weight, Tensor& grad_bias) {
  using A = Accumulator<T>;
  const std::int64_t rows = x.size(0), columns = x.size(1);
  const T *from = x.data<T>(), *w = weight.data<T>(), *g = grad.data<T>();
  const A *means = mean.data<A>(), *rstds = rstd.data<A>();
  T* to = grad_x.mutable_data<T>();
  parallel_for(0, rows, std::max<std::int64_t>(1, 16384 / columns), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const T *row = from + r * columns, *gr = g + r * columns;
      const A m = means[r], s = rstds[r];
      const A a = row_sum<T, A>(columns, [&](std::int64_t i) { return A(gr[i]) * A(w[i]); }) / A(columns);
      const A b =
          row_sum<T, A>(columns, [&](std::int64_t i) { return A(gr[i]) * A(w[i]) * (A(row[i]) - m) * s; }) / A(columns);
      for (std::int64_t i = 0; i < columns; ++i)
        to[r * columns + i] = T(s * (A(gr[i]) * A(w[i]) - a - (A(row[i]) - m) * s * b));
    }
  });
  A *gw = grad_weight.mutable_data<A>(), *gb = grad_bias.mutable_data<A>();
  parallel_for(0, columns, 64, [&](std::int64_t first, std::int64_t end) {
    std::fill(gw + first, gw + end, A(0));
    std::fill(gb + first, gb + end, A(0));
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t i = first; i < end; ++i) {
        const A gi = A(g[r * columns + i]);
        gw[i] += gi * (A(from[r * columns + i]) - means[r]) * rstds[r];
        gb[i] += gi;
      }
  });
}

void layer_norm_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, Tensor& out,
                    Tensor& mean, Tensor& rstd) {
  if (x.dtype() == DType::kBF16) {
    const std::int64_t columns = x.size(1);
    const bf16 *from = x.data<bf16>(), *w = weight.data<bf16>(), *b = bias.data<bf16>();
    bf16* to = out.mutable_data<bf16>();
    float *means = mean.mutable_data<float>(), *rstds = rstd.mutable_data<float>();
    parallel_for(0, x.size(0), std::max<std::int64_t>(1, 16384 / columns), [&](std::int64_t first, std::int64_t end) {
      layer_norm_bf16(from + first * columns, end - first, columns, w, b, static_cast<float>(epsilon),
                      to + first * columns, means + first, rstds + first);
    });
    return;
  }
  dispatch_floating(x.dtype(), "layer_norm",
                    [&]<class T>() { layer_norm_typed<T>(x, weight, bias, epsilon, out, mean, rstd); });
}
void layer_norm_grad_cpu(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                         const Tensor& grad, Tensor& grad_x, Tensor& grad_weight, Tensor& grad_bias) {
  dispatch_floating(x.dtype(), "layer_norm", [&]<class T>() {
    layer_norm_grad_typed<T>(x, weight, mean, rstd, grad, grad_x, grad_weight, grad_bias);
  });
}

const Register r_layer_norm(layer_norm_kernel, DeviceType::kCpu, layer_norm_cpu);
const Register r_layer_norm_grad(layer_norm_grad_kernel, DeviceType::kCpu, layer_norm_grad_cpu);

}  // namespace
}  // namespace usol
