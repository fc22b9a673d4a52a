#include "usol/ops/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/random.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"

namespace usol::test {
namespace {

double gelu_of(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }

template <Activation kActivation>
OpCase linear_case(const char* name, double (*f)(double)) {
  return {.name = name,
          .op = [](const Tensors& in) { return linear(in[0], in[1], in[2], kActivation); },
          .reference =
              [f](const Tensors& in) {
                return build({in[0].size(0), in[0].size(1), in[1].size(0)}, [&](const Shape& x) {
                  double total = at(in[2], {x[2]});
                  for (std::int64_t i = 0; i < in[0].size(2); ++i)
                    total += at(in[0], {x[0], x[1], i}) * at(in[1], {x[2], i});
                  return f(total);
                });
              },
          .inputs = {{{2, 5, 7}}, {{9, 7}}, {{9}}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = 32,
          .bench_inputs = {{{1, 3601, 768}}, {{3072, 768}, -0.1, 0.1}, {{3072}}},
          .bench_flop = 2.0 * 3601 * 768 * 3072};
}

OP_TEST(linear_case<Activation::kNone>("linear", [](double x) { return x; }));
OP_TEST(linear_case<Activation::kGelu>("linear_gelu", gelu_of));
OP_TEST(linear_case<Activation::kRelu>("linear_relu", [](double x) { return std::max(x, 0.0); }));

// Without recording, weights are packed and another product may be taken.
TEST(Linear, InferenceEqualsTraining) {
  Generator generator(3);
  const Tensor x = uniform({70, 33}, generator, -1, 1), w = uniform({19, 33}, generator, -1, 1),
               b = uniform({19}, generator, -1, 1);
  for (Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu}) {
    const Tensor expected = linear(x, w, b, activation);
    const NoGrad inference;
    for (int again = 0; again < 2; ++again) EXPECT_LT(relative_error(linear(x, w, b, activation), expected), 1e-6);
  }
  const NoGrad inference;
  Tensor sum = Tensor::full({70, 19}, 2);
  linear_add_into(sum, x, w, b);
  EXPECT_LT(relative_error(sum, add(linear(x, w, b), Tensor::full({70, 19}, 2))), 1e-6);
  Tensor changed = w;
  changed.mutable_data<float>()[0] += 1;  // packed weights must not outlive a change
  EXPECT_NEAR(linear(x, w, b).data<float>()[0], sum.data<float>()[0] - 2 + x.data<float>()[0], 1e-5);
}

TEST(Linear, AddsInPlace) {
  Tensor y = Tensor::full({1, 2}, 10);
  linear_add_into(y, Tensor::from<float>({1, 2}, {1, 2}), Tensor::from<float>({1, 0, 0, 3}, {2, 2}),
                  Tensor::from<float>({0.5f, 0}, {2}));
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{11.5f, 16}));
}

TEST(Linear, InPlaceRefusesToLoseAGradient) {
  Tensor y = Tensor::zeros({1, 2}), w = Tensor::zeros({2, 2}), frozen = Tensor::zeros({2, 2}), b = Tensor::zeros({2});
  set_requires_grad(w);
  EXPECT_THROW(linear_add_into(y, Tensor::zeros({1, 2}), w), Error);
  set_requires_grad(b);
  EXPECT_THROW(linear_add_into(y, Tensor::zeros({1, 2}), frozen, b), Error);
}

TEST(Linear, Errors) {
  EXPECT_THROW(linear(Tensor::zeros({2, 3}), Tensor::zeros({4, 5})), Error);
  EXPECT_THROW(linear(Tensor::zeros({2, 3}), Tensor::zeros({4, 3}), Tensor::zeros({3})), Error);
}

}  // namespace
}  // namespace usol::test
