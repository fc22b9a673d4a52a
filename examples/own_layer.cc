// A layer of one's own with its gradient check: "gated" residual, y = x + sigmoid(g) * linear(x), g a learned vector.
//
//   own_layer        prints the largest difference between its gradients and central differences; 0 if it is tiny
#include <usol/autograd/gradcheck.h>
#include <usol/nn/linear.h>
#include <usol/nn/param_store.h>
#include <usol/ops/elementwise.h>
#include <usol/tensor/generator.h>

#include <cstdio>
#include <vector>

// A layer is a plain struct made from a Scope. Ops record their gradients, so there is nothing more to write.
struct GatedResidual {
  usol::nn::Linear linear;
  usol::Tensor gate;

  GatedResidual(const usol::Scope& scope, std::int64_t width)
      : linear(scope / "linear", width, width), gate(scope.parameter("gate", {width}, usol::init::zeros())) {}
  /// x [..., width] -> the same shape. Gradients to x and all parameters.
  usol::Tensor operator()(const usol::Tensor& x) const { return add(x, mul(sigmoid(gate), linear(x))); }
};

int main() {
  // In double precision, where central differences are exact to ten digits.
  usol::ParamStore store(/*seed=*/1, usol::Device{}, usol::DType::kF64);
  GatedResidual layer(usol::Scope(store), 5);
  usol::Generator random(2);
  std::vector<double> values(3 * 5);
  for (double& value : values) value = random.uniform(-1, 1);

  const usol::GradcheckResult result = usol::gradcheck(
      [&](const std::vector<usol::Tensor>& in) {  // the layer, at the values that gradcheck varies
        layer.gate = in[1];
        layer.linear.weight = in[2];
        return layer(in[0]);
      },
      {usol::Tensor::from(values, {3, 5}), layer.gate.detach(), layer.linear.weight.detach()});
  std::printf("largest error %.1e %s\n", result.max_error, result.worst.c_str());
  return result.max_error < 1e-7 ? 0 : 1;
}
