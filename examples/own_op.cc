// An op of one's own, registered from outside the library: softplus with a CPU kernel and its gradient.
// docs/add_an_op.md says what the library's own ops do besides.
//
//   own_op        prints softplus at a few points and how far its gradient is from central differences
#include <usol/autograd/gradcheck.h>
#include <usol/autograd/tape.h>
#include <usol/ops/elementwise.h>
#include <usol/tensor/check.h>
#include <usol/tensor/dtype.h>
#include <usol/tensor/kernel.h>
#include <usol/tensor/parallel.h>

#include <cmath>
#include <cstdio>
#include <vector>

/// x and out dense, of one floating dtype and shape. A CUDA kernel would fill the slot of DeviceType::kCuda.
usol::Kernel<void(const usol::Tensor& x, usol::Tensor& out)> softplus_kernel("softplus");

static void softplus_cpu(const usol::Tensor& x, usol::Tensor& out) {
  usol::dispatch_floating(x.dtype(), "softplus", [&]<class T>() {
    const T* from = x.data<T>();
    T* to = out.mutable_data<T>();
    usol::parallel_for(0, x.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to[i] = T(std::log1p(std::exp(static_cast<double>(from[i]))));
    });
  });
}
const usol::Register r_softplus(softplus_kernel, usol::DeviceType::kCpu, softplus_cpu);

/// log(1 + exp(x)), elementwise, for floating x of any shape. Gradient to x.
usol::Tensor softplus(const usol::Tensor& x) {
  usol::check(usol::is_floating(x.dtype()), "softplus: expected a floating tensor, got {}", x.dtype());
  usol::Tensor out = usol::Tensor::empty(x.shape(), x.dtype(), x.device());
  softplus_kernel(x.device(), x.detach().contiguous(), out);
  const usol::Saved saved(x);
  return usol::record("softplus", {x}, out, [saved](const usol::Tensor& grad, const usol::Needs&) {
    return std::vector<usol::Tensor>{mul(grad, sigmoid(saved.get("softplus")))};
  });
}

int main() {
  const usol::Tensor x = usol::Tensor::from({-2.0, -0.5, 0.0, 1.0, 3.0}, {5});
  for (const double value : softplus(x).to_vector<double>()) std::printf("%.6f ", value);
  const auto result = usol::gradcheck([](const std::vector<usol::Tensor>& in) { return softplus(in[0]); }, {x});
  std::printf("\nlargest error of the gradient %.1e\n", result.max_error);
  return result.max_error < 1e-7 ? 0 : 1;
}
