// The step of SGD on CUDA.

#include "usol/tensor/cuda/map.cuh"
#include "usol/train/sgd.h"

namespace usol::train {
namespace {

struct NewMomentum {
  SgdStep step;
  __device__ float operator()(float m, float g, float p) const {
    return step.momentum * m + (step.gradient_scale * g + step.weight_decay * p);
  }
};

struct NewParameter {
  float learning_rate;
  __device__ float operator()(float p, float m) const { return p - learning_rate * m; }
};

void sgd_cuda(const SgdStep& step, const Tensor& gradient, Tensor& parameter, Tensor& momentum) {
  cuda::map<float>("sgd", momentum, NewMomentum{step}, momentum, gradient, parameter);
  cuda::map<float>("sgd", parameter, NewParameter{step.learning_rate}, parameter, momentum);
}

const Register r(sgd_kernel, DeviceType::kCuda, sgd_cuda);

}  // namespace
}  // namespace usol::train
