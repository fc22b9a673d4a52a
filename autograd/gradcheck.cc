#include "usol/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"

namespace usol {
namespace {

// Fixed weights make a scalar of the output, so that one backward pass checks every element at once.
Tensor fixed_weights(const Shape& shape) {
  Generator generator(20220214);
  Tensor w = Tensor::empty(shape, DType::kF64);
  double* data = w.mutable_data<double>();
  for (std::int64_t i = 0; i < w.numel(); ++i) data[i] = generator.uniform(-1.0, 1.0);
  return w;
}

double weighted_sum(const Tensor& output, const Tensor& weights) {
  const auto values = output.to_vector<double>();
  const double* w = weights.data<double>();
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * w[i];
  return sum;
}

}  // namespace

GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                          const std::vector<Tensor>& inputs, double epsilon, const std::vector<int>& skip) {
  std::vector<Tensor> leaves;
  std::vector<bool> checked;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Tensor leaf = inputs[i].detach();
    const bool skipped = std::find(skip.begin(), skip.end(), static_cast<int>(i)) != skip.end();
    checked.push_back(leaf.defined() && leaf.dtype() == DType::kF64 && !skipped);
    if (checked.back()) set_requires_grad(leaf);
    leaves.push_back(leaf);
  }
  const Tensor output = function(leaves);
  check(output.dtype() == DType::kF64, "gradcheck: expected an f64 output, got {}", output.dtype());
  const Tensor weights = fixed_weights(output.shape());
  backward(output, weights.to(output.device()));

  GradcheckResult result;
  const NoGrad no_grad;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!checked[i]) continue;
    const Tensor host = inputs[i].detach().to(Device::cpu()).contiguous();
    const Tensor analytic = grad(leaves[i]);
    const auto got = analytic.defined() ? analytic.to_vector<double>()
                                        : std::vector<double>(static_cast<std::size_t>(host.numel()), 0.0);
    std::vector<double> expected(got.size());
    double scale = 1;
    for (std::size_t e = 0; e < expected.size(); ++e) {
      const auto at = [&](double delta) {
        Tensor moved = host.clone();
        moved.mutable_data<double>()[e] += delta;
        std::vector<Tensor> arguments;
        for (std::size_t j = 0; j < inputs.size(); ++j)
          arguments.push_back(j == i ? moved.to(inputs[i].device()) : inputs[j].detach());
        return weighted_sum(function(arguments), weights);
      };
      expected[e] = (at(epsilon) - at(-epsilon)) / (2 * epsilon);
      scale = std::max(scale, std::abs(expected[e]));
    }
    for (std::size_t e = 0; e < expected.size(); ++e) {
      const double error = std::abs(got[e] - expected[e]) / scale;
      if (!(error <= result.max_error)) {
        result.max_error = std::isnan(error) ? INFINITY : error;
        result.worst =
            fmt::format("input {} element {}: gradient {}, central difference {}", i, e, got[e], expected[e]);
      }
    }
  }
  return result;
}

}  // namespace usol
