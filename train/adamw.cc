#include "usol/train/adamw.h"

#include <cmath>

#include "usol/tensor/parallel.h"

namespace usol::train {

constinit Kernel<void(const AdamWStep&, const Tensor&, Tensor&, Tensor&, Tensor&)> adamw_kernel{"adamw"};

AdamWStep adamw_step(double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                     double gradient_scale, std::int64_t t) {
  const auto n = static_cast<double>(t);
  AdamWStep step;
  step.gradient_scale = static_cast<float>(gradient_scale);
  step.keep = static_cast<float>(1 - learning_rate * weight_decay);
  step.one_minus_beta1 = static_cast<float>(1 - beta1);
  step.beta2 = static_cast<float>(beta2);
  step.one_minus_beta2 = static_cast<float>(1 - beta2);
  step.step_size = static_cast<float>(learning_rate / (1 - std::pow(beta1, n)));
  step.root_correction = static_cast<float>(std::sqrt(1 - std::pow(beta2, n)));
  step.epsilon = static_cast<float>(epsilon);
  return step;
}

namespace {

// PyTorch's order of roundings.
void adamw_cpu(const AdamWStep& step, const Tensor& gradient, Tensor& parameter, Tensor& average, Tensor& square) {
  const float* from = gradient.data<float>();
  float* p = parameter.mutable_data<float>();
  float* m = average.mutable_data<float>();
  float* v = square.mutable_data<float>();
  parallel_for(0, parameter.numel(), 1 << 14, [&, step](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const float g = step.gradient_scale * from[i];
      m[i] += step.one_minus_beta1 * (g - m[i]);
      v[i] = step.beta2 * v[i] + step.one_minus_beta2 * g * g;
      p[i] = step.keep * p[i] - step.step_size * (m[i] / (std::sqrt(v[i]) / step.root_correction + step.epsilon));
    }
  });
}

const Register r(adamw_kernel, DeviceType::kCpu, adamw_cpu);

}  // namespace
}  // namespace usol::train
