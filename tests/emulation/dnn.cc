// cuDNN's part on the emulated CUDA device: none, so that the kernels of ours are what runs. For machines without
// NVIDIA's libraries; where they are, see libraries/cudnn.cc.

#include "usol/tensor/cuda/dnn.h"

namespace usol::cuda {

bool dnn_attention(const Queue&, const Tensor&, const Tensor&, const Tensor&, double, Tensor&, Tensor&) {
  return false;
}

bool dnn_convolution(const Queue&, const Tensor&, const Tensor&, const Tensor&, const DnnConvolution&, bool, Tensor&) {
  return false;
}
bool dnn_convolution_grad_input(const Queue&, const Tensor&, const Tensor&, const DnnConvolution&, Tensor&) {
  return false;
}
bool dnn_convolution_grad_weight(const Queue&, const Tensor&, const Tensor&, const DnnConvolution&, Tensor&) {
  return false;
}

}  // namespace usol::cuda
