#pragma once
// One step of AdamW: Adam with weight decay apart from the gradient.
// Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"; PyTorch's torch.optim.AdamW.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol::train {

/// What one step does to one parameter.
struct AdamWStep {
  float gradient_scale = 1;  // from clipping
  float keep = 1;            // 1 - rate * decay
  float one_minus_beta1 = 0.1F, beta2 = 0.999F, one_minus_beta2 = 0.001F;
  float step_size = 0;                         // rate / (1 - beta1^t)
  float root_correction = 1, epsilon = 1e-8F;  // sqrt(1 - beta2^t)
};
/// AdamWStep for step number t, from 1.
AdamWStep adamw_step(double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                     double gradient_scale, std::int64_t t);

/// With g = scale * gradient: average += one_minus_beta1 (g - average); square = beta2 square + one_minus_beta2 g^2;
/// parameter = keep * parameter - step_size * average / (sqrt(square) / root_correction + epsilon). All dense f32 of
/// one shape.
extern Kernel<void(const AdamWStep& step, const Tensor& gradient, Tensor& parameter, Tensor& average, Tensor& square)>
    adamw_kernel;

}  // namespace usol::train
