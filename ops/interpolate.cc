#include "usol/ops/interpolate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, Tensor&)> resample_kernel{"resample"};

namespace {

struct Tap {
  std::int64_t index;
  double weight;
};
using Taps = std::vector<std::vector<Tap>>;  // per output position

double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// `step` is input positions per output position.
std::vector<Tap> antialiased_taps(std::int64_t i, std::int64_t in, double step, InterpolateMode mode) {
  const double widening = std::max(step, 1.0), support = (mode == InterpolateMode::kBicubic ? 2 : 1) * widening;
  const double centre = step * (static_cast<double>(i) + 0.5);
  const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), 0);
  const auto end = std::min<std::int64_t>(static_cast<std::int64_t>(centre + support + 0.5), in);
  std::vector<Tap> taps;
  double total = 0;
  for (std::int64_t j = first; j < end; ++j) {
    const double x = (static_cast<double>(j) - centre + 0.5) / widening;
    const double weight = mode == InterpolateMode::kBicubic ? cubic(x, -0.5) : std::max(0.0, 1 - std::abs(x));
    taps.push_back({j, weight});
    total += weight;
  }
  for (Tap& tap : taps) tap.weight /= total;
  return taps;
}

std::vector<Tap> plain_taps(std::int64_t i, std::int64_t in, double step, InterpolateMode mode) {
  const auto inside = [in](std::int64_t j) { return std::clamp<std::int64_t>(j, 0, in - 1); };
  if (mode == InterpolateMode::kNearest) {  // in f32, as PyTorch: at exact halves f64 could take another pixel
    const auto j = static_cast<std::int64_t>(std::floor(static_cast<float>(i) * static_cast<float>(step)));
    return {{inside(j), 1}};
  }
  double x = step * (static_cast<double>(i) + 0.5) - 0.5;
  if (mode == InterpolateMode::kBilinear) {
    x = std::max(x, 0.0);
    const auto j = static_cast<std::int64_t>(x);
    const double t = x - static_cast<double>(j);
    return {{inside(j), 1 - t}, {inside(j + 1), t}};
  }
  const double floor = std::floor(x), t = x - floor;
  const auto j = static_cast<std::int64_t>(floor);
  std::vector<Tap> taps;
  for (std::int64_t k = -1; k <= 2; ++k) taps.push_back({inside(j + k), cubic(t - static_cast<double>(k), -0.75)});
  return taps;
}

Taps make_taps(std::int64_t in, std::int64_t out, double scale, const InterpolateOptions& options) {
  const double step = scale > 0 ? 1 / scale : static_cast<double>(in) / static_cast<double>(out);
  Taps taps;
  for (std::int64_t i = 0; i < out; ++i)
    taps.push_back(options.antialias ? antialiased_taps(i, in, step, options.mode)
                                     : plain_taps(i, in, step, options.mode));
  return taps;
}

// The taps of the gradient: which outputs an input went into.
Taps transposed(const Taps& taps, std::int64_t in) {
  Taps result(static_cast<std::size_t>(in));
  for (std::size_t i = 0; i < taps.size(); ++i)
    for (const Tap& tap : taps[i])
      result[static_cast<std::size_t>(tap.index)].push_back({static_cast<std::int64_t>(i), tap.weight});
  return result;
}

Tensor resample(const Tensor& x, const Taps& taps) {
  std::size_t most = 1;
  for (const auto& row : taps) most = std::max(most, row.size());
  const auto rows = static_cast<std::int64_t>(taps.size()), width = static_cast<std::int64_t>(most);
  Tensor index = Tensor::zeros({rows, width}, DType::kI32), weight = Tensor::zeros({rows, width}, DType::kF64);
  for (std::size_t i = 0; i < taps.size(); ++i) {
    for (std::size_t t = 0; t < taps[i].size(); ++t) {
      index.mutable_data<std::int32_t>()[i * most + t] = static_cast<std::int32_t>(taps[i][t].index);
      weight.mutable_data<double>()[i * most + t] = taps[i][t].weight;
    }
  }
  const DType weight_type = x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  Tensor out = Tensor::empty({x.size(0), rows, x.size(2)}, x.dtype(), x.device());
  resample_kernel(x.device(), x, index.to(x.device()), weight.to(weight_type).to(x.device()), out);
  return out;
}

// Both axes: x [N, C, H, W] -> [N, C, taps_h, taps_w], in x's order of memory.
Tensor resample_both(const Tensor& x, const Taps& taps_h, const Taps& taps_w) {
  const std::int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  const auto out_h = static_cast<std::int64_t>(taps_h.size()), out_w = static_cast<std::int64_t>(taps_w.size());
  if (is_channels_last(x) && !x.is_contiguous()) {
    const Tensor rows = resample(x.permute({0, 2, 3, 1}).reshape({n, h, w * c}), taps_h);
    return resample(rows.reshape({n * out_h, w, c}), taps_w).reshape({n, out_h, out_w, c}).permute({0, 3, 1, 2});
  }
  const Tensor rows = resample(x.contiguous().reshape({n * c, h, w}), taps_h);
  return resample(rows.reshape({n * c * out_h, w, 1}), taps_w).reshape({n, c, out_h, out_w});
}

}  // namespace

Tensor interpolate(const Tensor& x, std::int64_t height, std::int64_t width, const InterpolateOptions& options) {
  check(x.rank() == 4 && x.size(2) > 0 && x.size(3) > 0, "interpolate: expected a non-empty map [N, C, H, W], got {}",
        x.shape());
  check(is_floating(x.dtype()), "interpolate: expected a floating dtype, got {}", x.dtype());
  check(height > 0 && width > 0, "interpolate: expected a size of at least 1 x 1, got {} x {}", height, width);
  check(!options.antialias || options.mode != InterpolateMode::kNearest, "interpolate: nearest has no antialiasing");
  const std::int64_t h = x.size(2), w = x.size(3);
  const Taps taps_h = make_taps(h, height, options.scale_h, options);
  const Taps taps_w = make_taps(w, width, options.scale_w, options);
  return record("interpolate", {x}, resample_both(x.detach(), taps_h, taps_w), [=](const Tensor& grad, const Needs&) {
    return std::vector<Tensor>{resample_both(grad, transposed(taps_h, h), transposed(taps_w, w))};
  });
}

namespace {

void resample_cpu(const Tensor& x, const Tensor& index, const Tensor& weight, Tensor& out) {
  dispatch_floating(x.dtype(), "resample", [&]<class T>() {
    using A = Accumulator<T>;
    const std::int64_t in = x.size(1), inner = x.size(2), rows = out.size(1), taps = index.size(1);
    const T* from = x.data<T>();
    const auto* at = index.data<std::int32_t>();
    const A* w = weight.data<A>();
    T* to = out.mutable_data<T>();
    parallel_for(0, out.size(0) * rows, std::max<std::int64_t>(1, 8192 / (inner * taps + 1)),
                 [&](std::int64_t first, std::int64_t end) {
                   std::vector<A> sums(static_cast<std::size_t>(inner));
                   for (std::int64_t r = first; r < end; ++r) {
                     const std::int64_t a = r / rows, i = r % rows;
                     std::fill(sums.begin(), sums.end(), A(0));
                     for (std::int64_t t = 0; t < taps; ++t) {
                       const T* row = from + (a * in + at[i * taps + t]) * inner;
                       const A factor = w[i * taps + t];
                       for (std::int64_t b = 0; b < inner; ++b) sums[static_cast<std::size_t>(b)] += factor * A(row[b]);
                     }
                     for (std::int64_t b = 0; b < inner; ++b) to[r * inner + b] = T(sums[static_cast<std::size_t>(b)]);
                   }
                 });
  });
}

const Register r_resample(resample_kernel, DeviceType::kCpu, resample_cpu);

}  // namespace
}  // namespace usol
