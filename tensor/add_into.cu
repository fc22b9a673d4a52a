// a += b on CUDA.

#include "usol/tensor/add_into.h"
#include "usol/tensor/cuda/map.cuh"

namespace usol {
namespace {

void add_into_cuda(Tensor& a, const Tensor& b) {
  dispatch_floating(a.dtype(), "add_into", [&]<class T>() { cuda::map<T>("add_into", a, cuda::Sum(), a, b); });
}

const Register r(add_into_kernel, DeviceType::kCuda, add_into_cuda);

}  // namespace
}  // namespace usol
