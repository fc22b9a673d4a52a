#include "usol/ops/batch_norm.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/batch_norm_rows.h"
#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, Tensor&)> batch_norm_sums_kernel{"batch_norm_sums"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, bool, Tensor&)> batch_norm_apply_kernel{
    "batch_norm_apply"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, Tensor&)> batch_norm_grad_sums_kernel{
    "batch_norm_grad_sums"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&)>
    batch_norm_grad_input_kernel{"batch_norm_grad_input"};

namespace {

DType statistics_of(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

void check_batch_norm(const Tensor& x, std::initializer_list<const Tensor*> channels) {
  check(x.rank() == 4 && x.size(1) > 0 && is_floating(x.dtype()),
        "batch_norm: expected a floating map [N, C, H, W], got {} {}", x.dtype(), x.shape());
  for (const Tensor* t : channels)
    check(t->shape() == Shape{x.size(1)} && t->dtype() == statistics_of(x.dtype()) && t->device() == x.device(),
          "batch_norm: expected weight, bias and statistics of shape [{}], {} on {}, got {} {} on {}", x.size(1),
          statistics_of(x.dtype()), x.device(), t->dtype(), t->shape(), t->device());
}

// Sums [2, C] and the count behind them, over all ranks.
double add_ranks(Tensor& sums, std::int64_t rows, Communicator* ranks) {
  if (!ranks || ranks->size() == 1) return static_cast<double>(rows);
  const std::int64_t channels = sums.size(1);
  const Tensor count = Tensor::full({1}, static_cast<double>(rows), DType::kF64, sums.device());
  Tensor all = concat({sums.reshape({2 * channels}), count}, 0);
  ranks->all_reduce_sum(all);
  sums = all.slice(0, 0, 2 * channels).reshape({2, channels});
  return all.slice(0, 2 * channels, 2 * channels + 1).item();
}

void move_towards(Tensor& running, const Tensor& now, double momentum) {
  running.copy_from(add(affine(running.detach(), 1 - momentum), affine(now, momentum).to(running.dtype())));
}

}  // namespace

Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& running_mean,
                        Tensor& running_var, const BatchNormOptions& options) {
  check_batch_norm(x, {&weight, &bias, &running_mean, &running_var});
  const DType statistics = statistics_of(x.dtype());
  const Tensor map = to_channels_last(x.detach()), rows = channels_last_rows(map);
  Tensor sums = Tensor::zeros({2, x.size(1)}, DType::kF64, x.device());
  if (rows.numel() > 0) batch_norm_sums_kernel(x.device(), rows, sums);
  const double count = add_ranks(sums, rows.size(0), options.ranks);
  check(count > 1, "batch_norm: expected more than one value per channel when training, got {} from a map of {}", count,
        x.shape());

  Tensor mean, rstd, gain;  // [C] f64
  Tensor out = empty_channels_last(x.shape(), x.dtype(), x.device());
  {
    const NoGrad no_grad;
    mean = affine(sums.select(0, 0), 1 / count);
    const Tensor square = affine(sums.select(0, 1), 1 / count);
    const Tensor variance = maximum(sub(square, mul(mean, mean)), Tensor::zeros(mean.shape(), DType::kF64, x.device()));
    move_towards(running_mean, mean, options.momentum);
    move_towards(running_var, affine(variance, count / (count - 1)), options.momentum);
    rstd = div(Tensor::full(mean.shape(), 1, DType::kF64, x.device()), sqrt(affine(variance, 1, options.epsilon)));
    gain = mul(weight.detach().to(DType::kF64), rstd);
    const Tensor shift = sub(bias.detach().to(DType::kF64), mul(mean, gain));
    Tensor out_rows = channels_last_rows(out);
    if (rows.numel() > 0)
      batch_norm_apply_kernel(x.device(), rows, gain.to(statistics), shift.to(statistics), options.relu, out_rows);
  }

  const Saved saved_rows(rows), saved_out(options.relu ? channels_last_rows(out) : Tensor());
  const Shape shape = x.shape();
  Communicator* const ranks = options.ranks;
  return record("batch_norm", {x, weight, bias}, out, [=](const Tensor& grad, const Needs& needs) {
    const Tensor &r = saved_rows.get("batch_norm"), &y = saved_out.get("batch_norm");
    const Tensor g = channels_last_rows(to_channels_last(grad));
    Tensor grad_sums = Tensor::zeros({2, shape[1]}, DType::kF64, g.device());
    if (r.numel() > 0) batch_norm_grad_sums_kernel(g.device(), r, g, y, grad_sums);
    // d(out)/d(weight) is the normalised x. Both sums are this rank's own: gradients of parameters are added up later.
    const auto of_weight = [&](const Tensor& s) { return mul(sub(s.select(0, 1), mul(mean, s.select(0, 0))), rstd); };
    std::vector<Tensor> grads(3);
    if (needs[1]) grads[1] = of_weight(grad_sums).to(statistics);
    if (needs[2]) grads[2] = grad_sums.select(0, 0).to(statistics).contiguous();
    if (!needs[0]) return grads;
    // With z = (x - mean) rstd: dx = gain (g - mean(g) - z mean(g z)) = a g + b x + c.
    add_ranks(grad_sums, r.size(0), ranks);
    const Tensor b = affine(mul(mul(gain, rstd), of_weight(grad_sums)), -1 / count);
    const Tensor c = sub(affine(mul(gain, grad_sums.select(0, 0)), -1 / count), mul(b, mean));
    const Tensor coefficients =
        concat({gain.unsqueeze(0), b.unsqueeze(0), c.unsqueeze(0)}, 0).to(statistics).contiguous();
    grads[0] = empty_channels_last(shape, g.dtype(), g.device());
    Tensor out_rows = channels_last_rows(grads[0]);
    if (r.numel() > 0) batch_norm_grad_input_kernel(g.device(), r, g, y, coefficients, out_rows);
    return grads;
  });
}

BatchNormAffine batch_norm_affine(const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                                  const Tensor& running_var, double epsilon) {
  const Tensor scale = div(weight, sqrt(affine(running_var.detach(), 1, epsilon)));
  return {scale, sub(bias, mul(running_mean.detach(), scale))};
}

Tensor batch_norm_infer(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                        const Tensor& running_var, double epsilon) {
  check_batch_norm(x, {&weight, &bias, &running_mean, &running_var});
  const BatchNormAffine map = batch_norm_affine(weight, bias, running_mean, running_var, epsilon);
  const bool recorded = grad_enabled() && (requires_grad(x) || requires_grad(map.scale) || requires_grad(map.shift));
  if (recorded) {
    const auto per_channel = [&](const Tensor& t) { return cast(reshape(t, {1, x.size(1), 1, 1}), x.dtype()); };
    return add(mul(x, per_channel(map.scale)), per_channel(map.shift));
  }
  Tensor out = empty_channels_last(x.shape(), x.dtype(), x.device()), rows = channels_last_rows(out);
  if (out.numel() > 0)
    batch_norm_apply_kernel(x.device(), channels_last_rows(to_channels_last(x.detach())), map.scale, map.shift, false,
                            rows);
  return out;
}

namespace {

// sums [2, C] of two terms per element. Pieces of rows are summed apart and then in their order, so that the result
// does not depend on the number of threads.
template <class F>
void sum_rows(std::int64_t rows, std::int64_t channels, double* sums, F&& add_rows) {
  constexpr std::int64_t kRowsPerPiece = 512, kMostPieces = 256;
  const std::int64_t pieces = std::clamp<std::int64_t>(rows / kRowsPerPiece, 1, kMostPieces);
  std::vector<double> partial(static_cast<std::size_t>(pieces * 2 * channels));
  parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t p = first; p < end; ++p) {
      double* const one = partial.data() + p * 2 * channels;
      add_rows(rows * p / pieces, rows * (p + 1) / pieces, one, one + channels);
    }
  });
  std::fill_n(sums, 2 * channels, 0.0);
  for (std::int64_t p = 0; p < pieces; ++p)
    for (std::int64_t i = 0; i < 2 * channels; ++i) sums[i] += partial[static_cast<std::size_t>(p * 2 * channels + i)];
}

std::int64_t row_grain(std::int64_t channels) { return std::max<std::int64_t>(1, 16384 / channels); }

void batch_norm_sums_cpu(const Tensor& x, Tensor& sums) {
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>() {
    const std::int64_t c = x.size(1);
    const T* from = x.data<T>();
    sum_rows(x.size(0), c, sums.mutable_data<double>(),
             [&](std::int64_t first, std::int64_t end, double* plain, double* square) {
               if constexpr (std::is_same_v<T, bf16>)
                 return batch_norm_sums_rows(from + first * c, end - first, c, plain, square);
               for (const T* row = from + first * c; row < from + end * c; row += c)
                 for (std::int64_t i = 0; i < c; ++i) {
                   const double v = static_cast<double>(Accumulator<T>(row[i]));
                   plain[i] += v;
                   square[i] += v * v;
                 }
             });
  });
}

void batch_norm_apply_cpu(const Tensor& x, const Tensor& scale, const Tensor& shift, bool relu, Tensor& out) {
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>() {
    using A = Accumulator<T>;
    const std::int64_t c = x.size(1);
    const A *s = scale.data<A>(), *b = shift.data<A>();
    const T* from = x.data<T>();
    T* to = out.mutable_data<T>();
    parallel_for(0, x.size(0), row_grain(c), [&](std::int64_t first, std::int64_t end) {
      if constexpr (std::is_same_v<T, bf16>)
        return batch_norm_apply_rows(from + first * c, end - first, c, s, b, relu, to + first * c);
      for (std::int64_t r = first; r < end; ++r) {
        for (std::int64_t i = 0; i < c; ++i) {
          const A v = A(from[r * c + i]) * s[i] + b[i];
          to[r * c + i] = T(relu && v < A(0) ? A(0) : v);
        }
      }
    });
  });
}

template <class T>
constexpr bool kHasRows = std::is_same_v<T, float> || std::is_same_v<T, bf16>;  // of ops/batch_norm_rows.h

template <class T>
BatchNormRows<T> rows_from(const T* x, const T* grad, const T* out, std::int64_t first, std::int64_t end,
                           std::int64_t channels) {
  const std::int64_t at = first * channels;
  return {x + at, grad + at, out ? out + at : nullptr, end - first, channels};
}

void batch_norm_grad_sums_cpu(const Tensor& x, const Tensor& grad, const Tensor& out, Tensor& sums) {
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>() {
    using A = Accumulator<T>;
    const std::int64_t c = x.size(1);
    const T *from = x.data<T>(), *g = grad.data<T>(), *y = out.defined() ? out.data<T>() : nullptr;
    sum_rows(x.size(0), c, sums.mutable_data<double>(),
             [&](std::int64_t first, std::int64_t end, double* plain, double* product) {
               if constexpr (kHasRows<T>) {
                 batch_norm_grad_sums_rows(rows_from(from, g, y, first, end, c), plain, product);
               } else {
                 for (std::int64_t at = first * c; at < end * c; ++at) {
                   const double v = y && !(A(y[at]) > A(0)) ? 0.0 : static_cast<double>(A(g[at]));
                   plain[at % c] += v;
                   product[at % c] += v * static_cast<double>(A(from[at]));
                 }
               }
             });
  });
}

void batch_norm_grad_input_cpu(const Tensor& x, const Tensor& grad, const Tensor& out, const Tensor& coefficients,
                               Tensor& grad_x) {
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>() {
    using A = Accumulator<T>;
    const std::int64_t c = x.size(1);
    const A* k = coefficients.data<A>();
    const T *from = x.data<T>(), *g = grad.data<T>(), *y = out.defined() ? out.data<T>() : nullptr;
    T* to = grad_x.mutable_data<T>();
    parallel_for(0, x.size(0), row_grain(c), [&](std::int64_t first, std::int64_t end) {
      if constexpr (kHasRows<T>) {
        batch_norm_grad_input_rows(rows_from(from, g, y, first, end, c), k, to + first * c);
        return;
      }
      for (std::int64_t r = first; r < end; ++r) {
        for (std::int64_t i = 0; i < c; ++i) {
          const A v = y && !(A(y[r * c + i]) > A(0)) ? A(0) : A(g[r * c + i]);
          to[r * c + i] = T(k[i] * v + k[c + i] * A(from[r * c + i]) + k[2 * c + i]);
        }
      }
    });
  });
}

const Register r_sums(batch_norm_sums_kernel, DeviceType::kCpu, batch_norm_sums_cpu);
const Register r_apply(batch_norm_apply_kernel, DeviceType::kCpu, batch_norm_apply_cpu);
const Register r_grad_sums(batch_norm_grad_sums_kernel, DeviceType::kCpu, batch_norm_grad_sums_cpu);
const Register r_grad_input(batch_norm_grad_input_kernel, DeviceType::kCpu, batch_norm_grad_input_cpu);

}  // namespace
}  // namespace usol
