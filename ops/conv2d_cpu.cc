// The CPU's convolutions: Winograd's where it is faster (in f32 for inference and gradients, in bf16 for all), a linear
// layer where a transposed one is such, and our own gradients of weights in bf16; else oneDNN where it was found and
// takes the dtype, and products of rows otherwise.

#include "usol/autograd/grad_mode.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/conv2d_grad_input_bf16.h"
#include "usol/ops/conv2d_grad_weight_bf16.h"
#include "usol/ops/conv2d_rows.h"
#include "usol/ops/conv2d_winograd.h"
#include "usol/ops/conv2d_winograd_bf16.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gemm.h"
#include "usol/ops/onednn.h"

namespace usol {
namespace {

#if defined(USOL_WITH_ONEDNN)
bool use_onednn(Conv2dPass pass, const Tensor& x, const Tensor& weight, const Tensor& y, const Conv2dOptions& options) {
  return gemm_backend() == GemmBackend::kOneDnn &&
         onednn_takes(pass, x.dtype(), x.shape(), weight.shape(), y.shape(), options);
}
#endif

// Null where the CPU leaves maps in bf16 to others.
const Bf16Products* products_of_maps() { return onednn_multiplies_bf16_faster() ? nullptr : bf16_products(); }

void conv2d_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                bool accumulate, Tensor& out) {
  // Training in f32 stays with the plain sums, whose losses are nearer to those of other implementations.
  if (!grad_enabled() && winograd_fits(x, weight, options, out))
    return conv2d_winograd(x, weight, bias, options, accumulate, out);
  if (const Bf16Products* products = products_of_maps(); products && winograd_bf16_fits(x, weight, options, out))
    return conv2d_winograd_bf16(*products, x, weight, bias, options, accumulate, out);
#if defined(USOL_WITH_ONEDNN)
  if (use_onednn(Conv2dPass::kForward, x, weight, out, options))
    return onednn_conv2d(x, weight, bias, options, accumulate, out);
#endif
  conv2d_rows(x, weight, bias, options, accumulate, out);
}

void conv2d_grad_input_cpu(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                           Tensor& out) {
  const Bf16Products* products = products_of_maps();
  if (products && !grad_enabled() && grad_input_bf16_fits(grad, weight, options, out))
    return conv2d_grad_input_bf16(*products, grad, weight, bias, options, out);
  // Bias and ReLU are those of a transposed convolution's results, which stay plain sums.
  if (!bias.defined() && !options.relu && winograd_grad_fits(out, weight, grad, options))
    return conv2d_winograd_grad_input(grad, weight, options, out);
  if (products && !bias.defined() && !options.relu && winograd_bf16_grad_fits(out, weight, grad, options))
    return conv2d_winograd_bf16_grad_input(*products, grad, weight, options, out);
#if defined(USOL_WITH_ONEDNN)
  if (use_onednn(Conv2dPass::kGradInput, out, weight, grad, options)) {
    onednn_conv2d_grad_input(grad, weight, options, out);
    if (bias.defined())
      binary_kernel({}, BinaryOp::kAdd, out, bias.reshape({1, bias.size(0), 1, 1}).expand(out.shape()), out);
    if (options.relu) unary_kernel({}, UnaryOp::kRelu, out, out);
    return;
  }
#endif
  conv2d_grad_input_rows(grad, weight, bias, options, out);
}

void conv2d_grad_weight_cpu(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  if (winograd_grad_fits(x, out, grad, options)) return conv2d_winograd_grad_weight(x, grad, options, out);
  // With AMX, too: no version of oneDNN is trusted with these.
  if (const Bf16Products* products = bf16_products(); products && x.dtype() == DType::kBF16 && options.groups == 1) {
    if (winograd_bf16_grad_fits(x, out, grad, options))
      return conv2d_winograd_bf16_grad_weight(*products, x, grad, options, out);
    return conv2d_grad_weight_bf16(*products, x, grad, options, out);
  }
#if defined(USOL_WITH_ONEDNN)
  if (use_onednn(Conv2dPass::kGradWeight, x, out, grad, options))
    return onednn_conv2d_grad_weight(x, grad, options, out);
#endif
  conv2d_grad_weight_rows(x, grad, options, out);
}

const Register r_conv2d(conv2d_kernel, DeviceType::kCpu, conv2d_cpu);
const Register r_grad_input(conv2d_grad_input_kernel, DeviceType::kCpu, conv2d_grad_input_cpu);
const Register r_grad_weight(conv2d_grad_weight_kernel, DeviceType::kCpu, conv2d_grad_weight_cpu);

}  // namespace
}  // namespace usol
