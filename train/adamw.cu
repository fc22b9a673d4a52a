// The step of AdamW on CUDA.

#include "usol/tensor/cuda/map.cuh"
#include "usol/train/adamw.h"

namespace usol::train {
namespace {

struct NewAverage {
  AdamWStep step;
  __device__ float operator()(float m, float g) const {
    return m + step.one_minus_beta1 * (step.gradient_scale * g - m);
  }
};

struct NewSquare {
  AdamWStep step;
  __device__ float operator()(float v, float gradient) const {
    const float g = step.gradient_scale * gradient;
    return step.beta2 * v + step.one_minus_beta2 * g * g;
  }
};

struct NewParameter {
  AdamWStep step;
  __device__ float operator()(float p, float m, float v) const {
    return step.keep * p - step.step_size * (m / (sqrtf(v) / step.root_correction + step.epsilon));
  }
};

void adamw_cuda(const AdamWStep& step, const Tensor& gradient, Tensor& parameter, Tensor& average, Tensor& square) {
  cuda::map<float>("adamw", average, NewAverage{step}, average, gradient);
  cuda::map<float>("adamw", square, NewSquare{step}, square, gradient);
  cuda::map<float>("adamw", parameter, NewParameter{step}, parameter, average, square);
}

const Register r(adamw_kernel, DeviceType::kCuda, adamw_cuda);

}  // namespace
}  // namespace usol::train
