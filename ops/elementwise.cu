// Elementwise arithmetic on CUDA: the functions of ops/elementwise_math.h over tensor/cuda/map.cuh. The op is a
// run-time argument, since memory sets the pace and a kernel per function would be a hundred kernels.

#include "usol/ops/elementwise.h"
#include "usol/ops/elementwise_math.h"
#include "usol/tensor/cuda/map.cuh"

namespace usol {
namespace {

struct Binary {
  BinaryOp op;
  template <class A>
  __device__ A operator()(A a, A b) const {
    return elementwise::apply(op, a, b);
  }
};
struct Unary {
  UnaryOp op;
  template <class A>
  __device__ A operator()(A a) const {
    return elementwise::apply(op, a);
  }
};
struct UnaryGrad {
  UnaryOp op;
  template <class A>
  __device__ A operator()(A a, A grad) const {
    return grad * elementwise::derivative(op, a);
  }
};
struct ExtremumGrad {
  BinaryOp op;
  template <class A>
  __device__ A operator()(A a, A b, A grad) const {
    return grad * elementwise::extremum_share(op, a, b);
  }
};
struct Affine {
  double scale, offset;
  template <class A>
  __device__ A operator()(A a) const {
    return A(scale) * a + A(offset);
  }
};

void binary_cuda(BinaryOp op, const Tensor& a, const Tensor& b, Tensor& out) {
  dispatch_floating(out.dtype(), "binary", [&]<class T>() { cuda::map<T>("binary", out, Binary{op}, a, b); });
}
void unary_cuda(UnaryOp op, const Tensor& a, Tensor& out) {
  dispatch_floating(out.dtype(), "unary", [&]<class T>() { cuda::map<T>("unary", out, Unary{op}, a); });
}
void unary_grad_cuda(UnaryOp op, const Tensor& a, const Tensor& grad_out, Tensor& grad_in) {
  dispatch_floating(a.dtype(), "unary_grad",
                    [&]<class T>() { cuda::map<T>("unary_grad", grad_in, UnaryGrad{op}, a, grad_out); });
}
void extremum_grad_cuda(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& grad_out, Tensor& grad_a) {
  dispatch_floating(a.dtype(), "extremum_grad",
                    [&]<class T>() { cuda::map<T>("extremum_grad", grad_a, ExtremumGrad{op}, a, b, grad_out); });
}
void affine_cuda(const Tensor& a, double scale, double offset, Tensor& out) {
  dispatch_floating(a.dtype(), "affine", [&]<class T>() { cuda::map<T>("affine", out, Affine{scale, offset}, a); });
}

const Register r_binary(binary_kernel, DeviceType::kCuda, binary_cuda);
const Register r_unary(unary_kernel, DeviceType::kCuda, unary_cuda);
const Register r_unary_grad(unary_grad_kernel, DeviceType::kCuda, unary_grad_cuda);
const Register r_extremum(extremum_grad_kernel, DeviceType::kCuda, extremum_grad_cuda);
const Register r_affine(affine_kernel, DeviceType::kCuda, affine_cuda);

}  // namespace
}  // namespace usol
