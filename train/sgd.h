#pragma once
// One step of stochastic gradient descent with momentum. Source: PyTorch's torch.optim.SGD.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol::train {

/// What one step does to one parameter.
struct SgdStep {
  float gradient_scale = 1;  // from clipping
  float learning_rate = 0, momentum = 0, weight_decay = 0;
};
/// momentum' = m * momentum + (scale * gradient + decay * parameter); parameter -= rate * momentum'. All dense f32 of
/// one shape.
extern Kernel<void(const SgdStep& step, const Tensor& gradient, Tensor& parameter, Tensor& momentum)> sgd_kernel;

}  // namespace usol::train
