#include "usol/train/sgd.h"

#include "usol/tensor/parallel.h"

namespace usol::train {

constinit Kernel<void(const SgdStep&, const Tensor&, Tensor&, Tensor&)> sgd_kernel{"sgd"};

namespace {

// PyTorch's order of roundings.
void sgd_cpu(const SgdStep& step, const Tensor& gradient, Tensor& parameter, Tensor& momentum) {
  const float* g = gradient.data<float>();
  float* p = parameter.mutable_data<float>();
  float* m = momentum.mutable_data<float>();
  parallel_for(0, parameter.numel(), 1 << 14, [&, step](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      m[i] = step.momentum * m[i] + (step.gradient_scale * g[i] + step.weight_decay * p[i]);
      p[i] -= step.learning_rate * m[i];
    }
  });
}

const Register r(sgd_kernel, DeviceType::kCpu, sgd_cpu);

}  // namespace
}  // namespace usol::train
