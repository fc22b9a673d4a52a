#include "usol/ops/linear.h"

#include <algorithm>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/conv2d_grad_weight_bf16.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear_bf16.h"
#include "usol/ops/matmul.h"
#include "usol/ops/onednn.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, Activation, bool, Tensor&)> linear_kernel{"linear"};

namespace {

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
        "linear: expected x [..., I] and weight [O, I], got {} and {}", x.shape(), weight.shape());
  check(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear: expected a bias of shape [{}], got {}",
        weight.size(0), bias.shape());
  check(is_floating(x.dtype()) && x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
        "linear: expected one floating dtype, got x {}, weight {}", x.dtype(), weight.dtype());
  check(x.device() == weight.device(), "linear: x on {}, weight on {}", x.device(), weight.device());
}

Tensor rows_of(const Tensor& x) {
  return x.contiguous().reshape({x.size(-1) == 0 ? 0 : x.numel() / x.size(-1), x.size(-1)});
}

Tensor dense(const Tensor& t) { return t.defined() ? t.detach().contiguous() : t; }

// The gradient of the weight [O, I] from x [M, I] and that of the result [M, O].
Tensor grad_weight(const Tensor& x, const Tensor& grad) {
  const Bf16Products* products = bf16_products();
  if (!products || x.dtype() != DType::kBF16 || !x.device().is_cpu() || onednn_multiplies_bf16_faster() ||
      x.numel() == 0 || grad.numel() == 0)
    return matmul(grad.transpose(0, 1), x);
  Tensor out = Tensor::empty({grad.size(1), x.size(1)}, x.dtype());
  linear_grad_weight_bf16(*products, x, grad.contiguous(), out);
  return out;
}

Shape with_last(Shape shape, std::int64_t size) {
  shape[-1] = size;
  return shape;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  check_linear(x, weight, bias);
  const bool recorded = grad_enabled() && (requires_grad(x) || requires_grad(weight) || requires_grad(bias));
  const Shape shape = with_last(x.shape(), weight.size(0));
  const Tensor rows = rows_of(x.detach());
  Tensor out = Tensor::empty({rows.size(0), weight.size(0)}, x.dtype(), x.device());
  linear_kernel(x.device(), rows, dense(weight), dense(bias), recorded ? Activation::kNone : activation, false, out);
  out = out.reshape(shape);
  if (!recorded) return out;
  const Saved saved_rows(rows), saved_weight(weight);
  const Shape x_shape = x.shape();
  std::vector<Tensor> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  const Tensor y = record("linear", inputs, out, [=](const Tensor& grad, const Needs& needs) {
    const Tensor g = grad.reshape({saved_rows.get("linear").size(0), shape[-1]});
    std::vector<Tensor> grads(inputs.size() == 3 ? 3 : 2);
    if (needs[0]) grads[0] = matmul(g, saved_weight.get("linear")).reshape(x_shape);
    if (needs[1]) grads[1] = grad_weight(saved_rows.get("linear"), g);
    if (grads.size() == 3 && needs[2]) grads[2] = sum(g, {0});
    return grads;
  });
  switch (activation) {  // apart, since its gradient needs what goes into it
    case Activation::kNone:
      return y;
    case Activation::kRelu:
      return relu(y);
    case Activation::kGelu:
      return gelu(y);
  }
  return y;
}

void linear_add_into(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_linear(x, weight, bias);
  check(y.is_contiguous() && y.shape() == with_last(x.shape(), weight.size(0)) && y.dtype() == x.dtype(),
        "linear_add_into: expected a dense y of shape {}, got {}", with_last(x.shape(), weight.size(0)), y.shape());
  check(!grad_enabled() || !(requires_grad(y) || requires_grad(x) || requires_grad(weight) || requires_grad(bias)),
        "linear_add_into: works in place, so that no gradient can be recorded");
  Tensor rows = y.reshape({y.numel() / std::max<std::int64_t>(1, y.size(-1)), y.size(-1)});
  linear_kernel(x.device(), rows_of(x), dense(weight), dense(bias), Activation::kNone, true, rows);
}

namespace {

// The rows of a matrix as the positions of a map, channels last.
Tensor as_map(const Tensor& rows) { return rows.reshape({1, rows.size(0), 1, rows.size(1)}).permute({0, 3, 1, 2}); }

void linear_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation, bool accumulate,
                Tensor& out) {
  // Inference: as a convolution of 1 x 1, whose weights are packed once. Of oneDNN's products this is the fastest.
  if (x.dtype() == DType::kF32 && gemm_backend() == GemmBackend::kOneDnn && !grad_enabled() && x.numel() > 0 &&
      out.numel() > 0) {
    Tensor map = as_map(out);
    conv2d_kernel({}, as_map(x), weight.reshape({weight.size(0), weight.size(1), 1, 1}), bias,
                  {.relu = activation == Activation::kRelu}, accumulate, map);
    if (activation == Activation::kGelu) unary_kernel({}, UnaryOp::kGelu, out, out);
    return;
  }
  if (const Bf16Products* products = bf16_products();
      products && x.dtype() == DType::kBF16 && linear_bf16_takes(x.size(1)) && !onednn_multiplies_bf16_faster())
    return linear_bf16(*products, x, weight, bias, activation, accumulate, out);
  dispatch_floating(x.dtype(), "linear", [&]<class T>() {
    Gemm<T> g;
    g.transpose_b = true;
    g.m = x.size(0);
    g.n = weight.size(0);
    g.k = x.size(1);
    g.a = x.data<T>();
    g.lda = g.k;
    g.b = weight.data<T>();
    g.ldb = g.k;
    g.c = out.mutable_data<T>();
    g.ldc = g.n;
    g.accumulate = accumulate;
    g.bias = bias.defined() ? bias.data<T>() : nullptr;
    g.activation = activation;
    gemm(g);
  });
}

const Register r_linear(linear_kernel, DeviceType::kCpu, linear_cpu);

}  // namespace
}  // namespace usol
