#include "usol/ops/group_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, std::int64_t, double, Tensor&, Tensor&, Tensor&)>
    group_norm_kernel{"group_norm"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, std::int64_t, Tensor&,
                      Tensor&)>
    group_norm_grad_kernel{"group_norm_grad"};

namespace {

// The elements of a map [N, C, H, W] as [N, H W, C], dense.
Tensor pixels_of(const Tensor& map) {
  return channels_last_rows(to_channels_last(map)).reshape({map.size(0), map.size(2) * map.size(3), map.size(1)});
}

}  // namespace

Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups, double epsilon) {
  check(x.rank() == 4 && is_floating(x.dtype()) && x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0,
        "group_norm: expected a floating map [N, C, H, W] with pixels, got {} {}", x.dtype(), x.shape());
  const std::int64_t n = x.size(0), channels = x.size(1);
  check(groups > 0 && channels % groups == 0, "group_norm: expected groups that divide {} channels, got {}", channels,
        groups);
  for (const Tensor* t : {&weight, &bias})
    check(t->shape() == Shape{channels} && t->dtype() == x.dtype() && t->device() == x.device(),
          "group_norm: expected weight and bias of shape [{}], {} on {}, got {} {} on {}", channels, x.dtype(),
          x.device(), t->dtype(), t->shape(), t->device());
  const DType statistics = x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor pixels = pixels_of(x.detach());
  Tensor out = empty_channels_last(x.shape(), x.dtype(), x.device());
  Tensor mean = Tensor::empty({n, groups}, statistics, x.device()),
         rstd = Tensor::empty(mean.shape(), statistics, x.device());
  Tensor out_pixels = channels_last_rows(out).reshape(pixels.shape());
  group_norm_kernel(x.device(), pixels, weight.detach().contiguous(), bias.detach().contiguous(), groups, epsilon,
                    out_pixels, mean, rstd);
  const Saved saved_pixels(pixels), saved_weight(weight);
  const Shape shape = x.shape();
  return record("group_norm", {x, weight, bias}, out, [=](const Tensor& grad, const Needs&) {
    const Tensor &p = saved_pixels.get("group_norm"), &w = saved_weight.get("group_norm");
    Tensor grad_x = empty_channels_last(shape, p.dtype(), p.device());
    Tensor grad_pixels = channels_last_rows(grad_x).reshape(p.shape());
    Tensor sums = Tensor::empty({2, n, channels}, statistics, p.device());
    group_norm_grad_kernel(p.device(), p, w.contiguous(), mean, rstd, pixels_of(grad), groups, grad_pixels, sums);
    const Tensor total = sum(sums, {1}).to(p.dtype());
    return std::vector<Tensor>{grad_x, total.select(0, 0).contiguous(), total.select(0, 1).contiguous()};
  });
}

namespace {

// One group of one picture: where its first channel is, and how to walk over its pixels.
struct Group {
  std::int64_t picture, first, begin;  // first channel; offset of the first pixel's first channel
};

Group group_at(const Tensor& x, std::int64_t groups, std::int64_t item) {
  const std::int64_t picture = item / groups, first = item % groups * (x.size(2) / groups);
  return {picture, first, picture * x.size(1) * x.size(2) + first};
}

template <class T>
void group_norm_typed(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups, double epsilon,
                      Tensor& out, Tensor& mean, Tensor& rstd) {
  using A = Accumulator<T>;
  const std::int64_t pixels = x.size(1), channels = x.size(2), width = channels / groups;
  const auto count = static_cast<double>(pixels * width);
  const T *from = x.data<T>(), *w = weight.data<T>(), *b = bias.data<T>();
  T* to = out.mutable_data<T>();
  A *means = mean.mutable_data<A>(), *rstds = rstd.mutable_data<A>();
  parallel_for(0, x.size(0) * groups, std::max<std::int64_t>(1, 16384 / (pixels * width)), [&](auto begin, auto end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const Group g = group_at(x, groups, item);
      const auto sum_of = [&](auto term) {
        double total = 0;
        for (std::int64_t p = 0; p < pixels; ++p)
          for (std::int64_t c = 0; c < width; ++c) total += term(static_cast<double>(from[g.begin + p * channels + c]));
        return total;
      };
      const double m = sum_of([](double v) { return v; }) / count;
      const double variance = sum_of([m](double v) { return (v - m) * (v - m); }) / count;
      const A centre = means[item] = A(m), s = rstds[item] = A(1 / std::sqrt(variance + epsilon));
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const std::int64_t i = g.begin + p * channels + c;
          to[i] = T((A(from[i]) - centre) * s * A(w[g.first + c]) + A(b[g.first + c]));
        }
    }
  });
}

// With z = (x - m) s, means over the group: dx = s (g w - mean(g w) - z mean(g w z)).
template <class T>
void group_norm_grad_typed(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                           const Tensor& grad, std::int64_t groups, Tensor& grad_x, Tensor& sums) {
  using A = Accumulator<T>;
  const std::int64_t pixels = x.size(1), channels = x.size(2), width = channels / groups;
  const auto count = static_cast<double>(pixels * width);
  const T *from = x.data<T>(), *w = weight.data<T>(), *g = grad.data<T>();
  const A *means = mean.data<A>(), *rstds = rstd.data<A>();
  T* to = grad_x.mutable_data<T>();
  A *with_z = sums.mutable_data<A>(), *plain = with_z + x.size(0) * channels;
  parallel_for(0, x.size(0) * groups, std::max<std::int64_t>(1, 16384 / (pixels * width)), [&](auto begin, auto end) {
    std::vector<double> of_z(static_cast<std::size_t>(width)), of_grad(of_z.size());
    for (std::int64_t item = begin; item < end; ++item) {
      const Group group = group_at(x, groups, item);
      const A m = means[item], s = rstds[item];
      std::fill(of_z.begin(), of_z.end(), 0.0);
      std::fill(of_grad.begin(), of_grad.end(), 0.0);
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const std::int64_t i = group.begin + p * channels + c;
          of_z[static_cast<std::size_t>(c)] += static_cast<double>(A(g[i]) * (A(from[i]) - m) * s);
          of_grad[static_cast<std::size_t>(c)] += static_cast<double>(g[i]);
        }
      double a = 0, b = 0;
      for (std::int64_t c = 0; c < width; ++c) {
        const auto k = static_cast<std::size_t>(c);
        a += of_grad[k] * static_cast<double>(w[group.first + c]);
        b += of_z[k] * static_cast<double>(w[group.first + c]);
        with_z[group.picture * channels + group.first + c] = A(of_z[k]);
        plain[group.picture * channels + group.first + c] = A(of_grad[k]);
      }
      const A mean_grad = A(a / count), mean_z = A(b / count);
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const std::int64_t i = group.begin + p * channels + c;
          to[i] = T(s * (A(g[i]) * A(w[group.first + c]) - mean_grad - (A(from[i]) - m) * s * mean_z));
        }
    }
  });
}

void group_norm_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t groups, double epsilon,
                    Tensor& out, Tensor& mean, Tensor& rstd) {
  dispatch_floating(x.dtype(), "group_norm",
                    [&]<class T>() { group_norm_typed<T>(x, weight, bias, groups, epsilon, out, mean, rstd); });
}

void group_norm_grad_cpu(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                         const Tensor& grad, std::int64_t groups, Tensor& grad_x, Tensor& sums) {
  dispatch_floating(x.dtype(), "group_norm_grad",
                    [&]<class T>() { group_norm_grad_typed<T>(x, weight, mean, rstd, grad, groups, grad_x, sums); });
}

const Register r_group_norm(group_norm_kernel, DeviceType::kCpu, group_norm_cpu);
const Register r_group_norm_grad(group_norm_grad_kernel, DeviceType::kCpu, group_norm_grad_cpu);

}  // namespace
}  // namespace usol
