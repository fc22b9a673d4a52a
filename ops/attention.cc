#include "usol/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/attention_bf16.h"
#include "usol/ops/attention_cpu.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, double, const AttentionBias&, Tensor&, Tensor&)>
    attention_kernel{"attention"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, double, const AttentionBias&, const Tensor&,
                      const Tensor&, const Tensor&, Tensor&, Tensor&, Tensor&, AttentionBias&)>
    attention_grad_kernel{"attention_grad"};

namespace {

Tensor with_dense_rows(const Tensor& t) { return t.strides()[3] == 1 || t.size(3) == 1 ? t : t.contiguous(); }

Tensor heads_inside(const Shape& shape, DType dtype, Device device) {  // [N, H, L, D] over dense [N, L, H, D]
  return Tensor::empty({shape[0], shape[2], shape[1], shape[3]}, dtype, device).transpose(1, 2);
}

void check_bias(const AttentionBias& bias, const Tensor& q, const Tensor& k) {
  if (!bias.rows.defined() && !bias.columns.defined()) return;
  const auto fits = [&](const Tensor& t) {
    return t.defined() && t.rank() == 4 && t.size(0) == q.size(0) && t.size(1) == q.size(1) && t.size(2) == q.size(2) &&
           t.dtype() == q.dtype() && t.device() == q.device();
  };
  check(
      fits(bias.rows) && fits(bias.columns) && bias.rows.size(3) * bias.columns.size(3) == k.size(2),
      "attention: expected a bias of rows [N, H, Lq, h] and of columns [N, H, Lq, w], h w = Lk, like q {} {} and k {}, "
      "got {} and {}",
      q.dtype(), q.shape(), k.shape(), bias.rows.defined() ? to_string(bias.rows.shape()) : "none",
      bias.columns.defined() ? to_string(bias.columns.shape()) : "none");
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias) {
  check(q.rank() == 4 && k.rank() == 4 && v.shape() == k.shape(),
        "attention: expected q [N, H, Lq, D] and k, v [N, H, Lk, D], got {}, {}, {}", q.shape(), k.shape(), v.shape());
  check(q.size(0) == k.size(0) && q.size(1) == k.size(1) && q.size(3) == k.size(3) && k.size(2) > 0 && q.size(3) > 0,
        "attention: q {} does not fit k {}", q.shape(), k.shape());
  check(is_floating(q.dtype()) && q.dtype() == k.dtype() && q.dtype() == v.dtype(),
        "attention: expected one floating dtype, got {}, {}, {}", q.dtype(), k.dtype(), v.dtype());
  check(q.device() == k.device() && q.device() == v.device(), "attention: tensors on {}, {}, {}", q.device(),
        k.device(), v.device());
  check_bias(bias, q, k);
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const Tensor qd = with_dense_rows(q.detach()), kd = with_dense_rows(k.detach()), vd = with_dense_rows(v.detach());
  AttentionBias added;
  if (bias.defined()) added = {bias.rows.detach().contiguous(), bias.columns.detach().contiguous()};
  const bool recorded =
      grad_enabled() && (requires_grad(q) || requires_grad(k) || requires_grad(v) ||
                         (bias.defined() && (requires_grad(bias.rows) || requires_grad(bias.columns))));
  Tensor out = heads_inside(q.shape(), q.dtype(), q.device());
  Tensor log_sum;
  if (recorded)
    log_sum = Tensor::empty({q.size(0), q.size(1), q.size(2)}, q.dtype() == DType::kF64 ? DType::kF64 : DType::kF32,
                            q.device());
  if (q.numel() > 0) attention_kernel(q.device(), qd, kd, vd, scale, added, out, log_sum);
  if (!recorded) return out;
  const Saved sq(qd), sk(kd), sv(vd), so(out);
  std::vector<Tensor> inputs{q, k, v};
  std::vector<Saved> saved_bias;
  if (bias.defined()) {
    inputs.insert(inputs.end(), {bias.rows, bias.columns});
    saved_bias = {Saved(added.rows), Saved(added.columns)};
  }
  return record("attention", inputs, out, [=](const Tensor& grad, const Needs&) {
    const Tensor& x = sq.get("attention");
    const Tensor& y = sk.get("attention");
    Tensor gq = Tensor::empty(x.shape(), x.dtype(), x.device()), gk = Tensor::empty(y.shape(), x.dtype(), x.device()),
           gv = Tensor::empty(y.shape(), x.dtype(), x.device());
    AttentionBias of_bias, grad_bias;
    if (!saved_bias.empty()) {
      of_bias = {saved_bias[0].get("attention"), saved_bias[1].get("attention")};
      grad_bias = {Tensor::empty(of_bias.rows.shape(), log_sum.dtype(), x.device()),
                   Tensor::empty(of_bias.columns.shape(), log_sum.dtype(), x.device())};
    }
    if (x.numel() == 0) {
      gk.fill(0);
      gv.fill(0);
    } else {
      attention_grad_kernel(x.device(), x, y, sv.get("attention"), scale, of_bias, so.get("attention"), log_sum,
                            with_dense_rows(grad), gq, gk, gv, grad_bias);
    }
    std::vector<Tensor> grads{gq, gk, gv};
    if (grad_bias.defined()) grads.insert(grads.end(), {grad_bias.rows.to(x.dtype()), grad_bias.columns.to(x.dtype())});
    return grads;
  });
}

namespace {

template <class T>
const T* head_of(const Tensor& t, std::int64_t n, std::int64_t h) {
  return t.data<T>() + n * t.strides()[0] + h * t.strides()[1];
}

template <class Head, class T>
std::vector<Head> heads_of(const Tensor& q, const Tensor& k, const Tensor& v, Tensor& out, Tensor& log_sum) {
  std::vector<Head> heads;
  T* to = out.mutable_data<T>();
  float* sums = log_sum.defined() ? log_sum.mutable_data<float>() : nullptr;
  for (std::int64_t n = 0; n < q.size(0); ++n)
    for (std::int64_t h = 0; h < q.size(1); ++h)
      heads.push_back({head_of<T>(q, n, h), head_of<T>(k, n, h), head_of<T>(v, n, h),
                       to + n * out.strides()[0] + h * out.strides()[1],
                       sums ? sums + (n * q.size(1) + h) * q.size(2) : nullptr, q.strides()[2], k.strides()[2],
                       v.strides()[2], out.strides()[2]});
  return heads;
}

void attention_cpu_f32(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                       Tensor& out, Tensor& log_sum) {
  auto heads = heads_of<AttentionHead, float>(q, k, v, out, log_sum);
  if (bias.defined()) {
    const std::int64_t rows = bias.rows.size(3), columns = bias.columns.size(3);
    for (std::size_t i = 0; i < heads.size(); ++i) {
      heads[i].row_bias = bias.rows.data<float>() + static_cast<std::int64_t>(i) * q.size(2) * rows;
      heads[i].column_bias = bias.columns.data<float>() + static_cast<std::int64_t>(i) * q.size(2) * columns;
      heads[i].key_rows = rows;
      heads[i].key_columns = columns;
    }
  }
  attention_f32(heads.data(), static_cast<std::int64_t>(heads.size()), q.size(2), k.size(2), q.size(3),
                static_cast<float>(scale));
}

// One query's bias of each key.
template <class T>
class BiasOfQuery {
 public:
  BiasOfQuery(const AttentionBias& bias, std::int64_t query) {
    if (!bias.defined()) return;
    columns_ = bias.columns.size(3);
    of_rows_ = bias.rows.data<T>() + query * bias.rows.size(3);
    of_columns_ = bias.columns.data<T>() + query * columns_;
  }
  T operator[](std::int64_t key) const {
    return of_rows_ ? of_rows_[key / columns_] + of_columns_[key % columns_] : T(0);
  }

 private:
  const T *of_rows_ = nullptr, *of_columns_ = nullptr;
  std::int64_t columns_ = 1;
};

// f64, for gradient checks: the plain formula, row by row.
void attention_cpu_f64(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                       Tensor& out, Tensor& log_sum) {
  const std::int64_t H = q.size(1), Lq = q.size(2), Lk = k.size(2), D = q.size(3);
  double* to = out.mutable_data<double>();
  double* sums = log_sum.defined() ? log_sum.mutable_data<double>() : nullptr;
  parallel_for(0, q.size(0) * H * Lq, 8, [&](std::int64_t first, std::int64_t end) {
    std::vector<double> p(static_cast<std::size_t>(Lk));
    for (std::int64_t i = first; i < end; ++i) {
      const std::int64_t n = i / (H * Lq), h = i / Lq % H, r = i % Lq;
      const double* x = head_of<double>(q, n, h) + r * q.strides()[2];
      const double *y = head_of<double>(k, n, h), *z = head_of<double>(v, n, h);
      const BiasOfQuery<double> added(bias, i);
      double top = -INFINITY, total = 0;
      for (std::int64_t j = 0; j < Lk; ++j) {
        double dot = 0;
        for (std::int64_t d = 0; d < D; ++d) dot += x[d] * y[j * k.strides()[2] + d];
        p[static_cast<std::size_t>(j)] = dot * scale + added[j];
        top = std::max(top, p[static_cast<std::size_t>(j)]);
      }
      for (double& e : p) total += e = std::exp(e - top);
      double* row = to + n * out.strides()[0] + h * out.strides()[1] + r * out.strides()[2];
      std::fill_n(row, D, 0.0);
      for (std::int64_t j = 0; j < Lk; ++j)
        for (std::int64_t d = 0; d < D; ++d)
          row[d] += p[static_cast<std::size_t>(j)] / total * z[j * v.strides()[2] + d];
      if (sums) sums[i] = top + std::log(total);
    }
  });
}

AttentionBias cast(const AttentionBias& bias, DType dtype) {
  return bias.defined() ? AttentionBias{bias.rows.to(dtype), bias.columns.to(dtype)} : bias;
}

void attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                   Tensor& out, Tensor& log_sum) {
  if (q.dtype() == DType::kF64) return attention_cpu_f64(q, k, v, scale, bias, out, log_sum);
  if (q.dtype() == DType::kF32) return attention_cpu_f32(q, k, v, scale, bias, out, log_sum);
  if (const Bf16Products* products = bf16_products();
      products && q.dtype() == DType::kBF16 && scale > 0 && !bias.defined()) {
    const auto heads = heads_of<Bf16AttentionHead, bf16>(q, k, v, out, log_sum);
    return attention_bf16(*products, heads.data(), static_cast<std::int64_t>(heads.size()), q.size(2), k.size(2),
                          q.size(3), static_cast<float>(scale));
  }
  Tensor wide = heads_inside(q.shape(), DType::kF32, q.device());
  attention_cpu_f32(q.to(DType::kF32), k.to(DType::kF32), v.to(DType::kF32), scale, cast(bias, DType::kF32), wide,
                    log_sum);
  out.copy_from(wide);
}

// With P = softmax(S): dV = P' dO, dP = dO V', dS = P (dP - rowsum(dO O)), dQ = scale dS K, dK = scale dS' Q.
// P is rebuilt from the saved row sums, a block of rows at a time. The bias's gradient is dS, summed over its keys.
template <class T>
void attention_grad_typed(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                          const Tensor& out, const Tensor& log_sum, const Tensor& grad_out, Tensor& grad_q,
                          Tensor& grad_k, Tensor& grad_v, AttentionBias& grad_bias) {
  const std::int64_t H = q.size(1), Lq = q.size(2), Lk = k.size(2), D = q.size(3);
  constexpr std::int64_t kRows = 128;
  T *gq = grad_q.mutable_data<T>(), *gk = grad_k.mutable_data<T>(), *gv = grad_v.mutable_data<T>();
  T *row_sums = nullptr, *column_sums = nullptr;
  const std::int64_t key_columns = bias.defined() ? bias.columns.size(3) : Lk, key_rows = Lk / key_columns;
  if (bias.defined()) {
    grad_bias.rows.fill(0);
    grad_bias.columns.fill(0);
    row_sums = grad_bias.rows.mutable_data<T>();
    column_sums = grad_bias.columns.mutable_data<T>();
  }
  std::vector<T> p(static_cast<std::size_t>(kRows * Lk)), dp(p.size());
  for (std::int64_t head = 0; head < q.size(0) * H; ++head) {
    const std::int64_t n = head / H, h = head % H;
    for (std::int64_t r0 = 0; r0 < Lq; r0 += kRows) {
      const std::int64_t rows = std::min(kRows, Lq - r0);
      const T* x = head_of<T>(q, n, h) + r0 * q.strides()[2];
      const T* y = head_of<T>(k, n, h);
      const T* z = head_of<T>(v, n, h);
      const T* g = head_of<T>(grad_out, n, h) + r0 * grad_out.strides()[2];
      const T* o = head_of<T>(out, n, h) + r0 * out.strides()[2];
      const T* l = log_sum.data<T>() + head * Lq + r0;
      const std::int64_t xs = q.strides()[2], ys = k.strides()[2], zs = v.strides()[2], gs = grad_out.strides()[2];
      gemm(Gemm<T>{false, true, rows, Lk, D, x, xs, y, ys, p.data(), Lk});
      gemm(Gemm<T>{false, true, rows, Lk, D, g, gs, z, zs, dp.data(), Lk});
      parallel_for(0, rows, 4, [&](std::int64_t first, std::int64_t end) {
        for (std::int64_t r = first; r < end; ++r) {
          T dot = 0;
          for (std::int64_t d = 0; d < D; ++d) dot += g[r * gs + d] * o[r * out.strides()[2] + d];
          T *pr = p.data() + r * Lk, *dr = dp.data() + r * Lk;
          const std::int64_t query = head * Lq + r0 + r;
          const BiasOfQuery<T> added(bias, query);
          for (std::int64_t j = 0; j < Lk; ++j) {
            pr[j] = std::exp(pr[j] * T(scale) + added[j] - l[r]);
            dr[j] = pr[j] * (dr[j] - dot);
          }
          for (std::int64_t j = 0; row_sums && j < Lk; ++j) {
            row_sums[query * key_rows + j / key_columns] += dr[j];
            column_sums[query * key_columns + j % key_columns] += dr[j];
          }
          for (std::int64_t j = 0; j < Lk; ++j) dr[j] *= T(scale);
        }
      });
      gemm(Gemm<T>{true, false, Lk, D, rows, p.data(), Lk, g, gs, gv + head * Lk * D, D, r0 > 0});
      gemm(Gemm<T>{false, false, rows, D, Lk, dp.data(), Lk, y, ys, gq + (head * Lq + r0) * D, D});
      gemm(Gemm<T>{true, false, Lk, D, rows, dp.data(), Lk, x, xs, gk + head * Lk * D, D, r0 > 0});
    }
  }
}

void attention_grad_cpu(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                        const Tensor& out, const Tensor& log_sum, const Tensor& grad_out, Tensor& grad_q,
                        Tensor& grad_k, Tensor& grad_v, AttentionBias& grad_bias) {
  if (q.dtype() == DType::kF64)
    return attention_grad_typed<double>(q, k, v, scale, bias, out, log_sum, grad_out, grad_q, grad_k, grad_v,
                                        grad_bias);
  if (q.dtype() == DType::kF32)
    return attention_grad_typed<float>(q, k, v, scale, bias, out, log_sum, grad_out, grad_q, grad_k, grad_v, grad_bias);
  const auto wide = [](const Tensor& t) { return t.to(DType::kF32); };
  Tensor gq = Tensor::empty(q.shape()), gk = Tensor::empty(k.shape()), gv = Tensor::empty(k.shape());
  attention_grad_typed<float>(wide(q), wide(k), wide(v), scale, cast(bias, DType::kF32), wide(out), log_sum,
                              wide(grad_out), gq, gk, gv, grad_bias);
  grad_q.copy_from(gq);
  grad_k.copy_from(gk);
  grad_v.copy_from(gv);
}

const Register r_attention(attention_kernel, DeviceType::kCpu, attention_cpu);
const Register r_attention_grad(attention_grad_kernel, DeviceType::kCpu, attention_grad_cpu);

}  // namespace
}  // namespace usol
