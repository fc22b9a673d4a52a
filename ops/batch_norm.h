#pragma once
// Batch normalisation, within one process or over all ranks that train together (SyncBN).
// Source: Ioffe & Szegedy 2015.

#include "usol/ops/all_reduce.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct BatchNormOptions {
  double momentum = 0.1;
  double epsilon = 1e-5;
  bool relu = false;              // max(., 0) of the result
  Communicator* ranks = nullptr;  // statistics over all of these (SyncBN); null: this process alone
};

/// Training: every channel of x [N, C, H, W] is normalised by its mean and biased variance over N, H and W (and all
/// ranks), then scaled by `weight` and shifted by `bias`, both [C]. running_mean and running_var [C] are updated in
/// place: r = (1 - momentum) r + momentum s, with the unbiased variance. Lies in memory as [N, H, W, C]. Gradients to
/// x, weight and bias. The [C] tensors are f32 for x of f32, f16 and bf16, f64 for f64. Throws Error on shapes, dtypes
/// or devices that do not fit, and on fewer than two values per channel over all ranks; with `ranks`, N may be 0 here.
Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& running_mean,
                        Tensor& running_var, const BatchNormOptions& options = {});

/// What batch normalisation with fixed statistics does to each channel: x scale + shift, scale = weight /
/// sqrt(running_var + epsilon), shift = bias - running_mean scale. Gradients to weight and bias.
struct BatchNormAffine {
  Tensor scale, shift;  // [C]
};
BatchNormAffine batch_norm_affine(const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                                  const Tensor& running_var, double epsilon = 1e-5);

/// Inference: x scale + shift, of batch_norm_affine. x [N, C, H, W]. Gradients to x, weight and bias. After a
/// convolution, and without a gradient, it is faster to fold scale and shift into the convolution (nn/conv.h).
Tensor batch_norm_infer(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                        const Tensor& running_var, double epsilon = 1e-5);

// The kernels work on rows [M, C], dense. Channel tensors are f32 (f64 for rows of f64), sums are f64 whatever the
// dtype, in an order that depends on shapes only.

/// sums [2, C]: of x and of x^2.
extern Kernel<void(const Tensor& x, Tensor& sums)> batch_norm_sums_kernel;
/// out = [relu] (x scale + shift); out may be x.
extern Kernel<void(const Tensor& x, const Tensor& scale, const Tensor& shift, bool relu, Tensor& out)>
    batch_norm_apply_kernel;
/// sums [2, C]: of g and of g x, with g = grad, but 0 where `out` (may be undefined) is not positive.
extern Kernel<void(const Tensor& x, const Tensor& grad, const Tensor& out, Tensor& sums)> batch_norm_grad_sums_kernel;
/// grad_x = a g + b x + c, coefficients [3, C], g as above.
extern Kernel<void(const Tensor& x, const Tensor& grad, const Tensor& out, const Tensor& coefficients, Tensor& grad_x)>
    batch_norm_grad_input_kernel;

}  // namespace usol
