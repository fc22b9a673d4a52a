// Affine maps on CUDA: one cuBLASLt product with bias and activation in its epilogue. cuBLASLt's GELU is the tanh form,
// which is as exact as a bf16 result can hold (within 5e-4, half a unit in the last place at 0.25 and above); for f32,
// f16 and f64 the exact GELU follows as a pass of its own.

#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"
#include "usol/tensor/cuda/blas.h"

namespace usol {
namespace {

void linear_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation, bool accumulate,
                 Tensor& out) {
  if (out.numel() == 0) return;
  const bool f64 = out.dtype() == DType::kF64, fused_bias = bias.defined() && !f64;
  cuda::BlasProduct p;
  p.dtype = out.dtype();
  p.transpose_b = true;
  p.m = x.size(0);
  p.n = weight.size(0);
  p.k = x.size(1);
  p.a = x.raw();
  p.lda = p.k;
  p.b = weight.raw();
  p.ldb = p.k;
  p.c = out.raw();
  p.ldc = p.n;
  p.accumulate = accumulate;
  bool activated = activation == Activation::kNone;
  if (fused_bias) {
    p.bias = bias.raw();
    p.epilogue = cuda::BlasEpilogue::kBias;
    if (activation == Activation::kRelu) p.epilogue = cuda::BlasEpilogue::kBiasRelu;
    if (activation == Activation::kGelu && out.dtype() == DType::kBF16) p.epilogue = cuda::BlasEpilogue::kBiasGeluTanh;
    activated = activated || p.epilogue != cuda::BlasEpilogue::kBias;
  }
  out.storage()->bump_version();
  if (p.k > 0) {
    const cuda::Queue queue("linear", out.device());
    blas_product(queue, p);
  } else {
    if (!accumulate) out.fill(0);
    if (fused_bias) binary_kernel(out.device(), BinaryOp::kAdd, out, bias.expand(out.shape()), out);
    activated = activation == Activation::kNone;
  }
  if (bias.defined() && f64) binary_kernel(out.device(), BinaryOp::kAdd, out, bias.expand(out.shape()), out);
  if (!activated)
    unary_kernel(out.device(), activation == Activation::kRelu ? UnaryOp::kRelu : UnaryOp::kGelu, out, out);
}

const Register r(linear_kernel, DeviceType::kCuda, linear_cuda);

}  // namespace
}  // namespace usol
