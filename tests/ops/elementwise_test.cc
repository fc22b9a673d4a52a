#include "usol/ops/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OpCase binary_case(const char* name, Tensor (*op)(const Tensor&, const Tensor&), double (*f)(double, double),
                   double low = -1) {
  return {.name = name,
          .op = [op](const Tensors& in) { return op(in[0], in[1]); },
          .reference = [f](const Tensors& in) { return zip(in[0], in[1], f); },
          .inputs = {{{2, 3, 5}}, {{3, 1}, low, 2}},
          .bench_inputs = {{{3601, 768}}, {{768}, 0.5, 2}}};
}
OpCase unary_case(const char* name, Tensor (*op)(const Tensor&), double (*f)(double), double low, double high) {
  return {.name = name,
          .op = [op](const Tensors& in) { return op(in[0]); },
          .reference = [f](const Tensors& in) { return map(in[0], f); },
          .inputs = {{{3, 7, 5}, low, high}},
          .reduction = 8,  // the functions are good to a few units in the last place
          .bench_inputs = {{{3601, 3072}, low, high}}};
}

OP_TEST(binary_case("add", add, [](double a, double b) { return a + b; }));
OP_TEST(binary_case("sub", sub, [](double a, double b) { return a - b; }));
OP_TEST(binary_case("mul", mul, [](double a, double b) { return a * b; }));
OP_TEST(binary_case(
    "div", div, [](double a, double b) { return a / b; }, 0.5));
OP_TEST(binary_case("maximum", maximum, [](double a, double b) { return std::max(a, b); }));
OP_TEST(binary_case("minimum", minimum, [](double a, double b) { return std::min(a, b); }));
OP_TEST(binary_case("add_relu", add_relu, [](double a, double b) { return std::max(a + b, 0.0); }));

OP_TEST(unary_case(
    "neg", neg, [](double x) { return -x; }, -2, 2));
OP_TEST(unary_case(
    "exp", exp, [](double x) { return std::exp(x); }, -3, 3));
OP_TEST(unary_case(
    "log", log, [](double x) { return std::log(x); }, 0.1, 4));
OP_TEST(unary_case(
    "sqrt", sqrt, [](double x) { return std::sqrt(x); }, 0.1, 4));
OP_TEST(unary_case(
    "abs", abs, [](double x) { return std::abs(x); }, -2, 2));
OP_TEST(unary_case(
    "relu", relu, [](double x) { return std::max(x, 0.0); }, -2, 2));
OP_TEST(unary_case(
    "sigmoid", sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -4, 4));
OP_TEST(unary_case(
    "silu", silu, [](double x) { return x / (1 + std::exp(-x)); }, -4, 4));
OP_TEST(unary_case(
    "gelu", gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }, -4, 4));

OP_TEST({.name = "affine",
         .op = [](const Tensors& in) { return affine(in[0], 2.5, -1); },
         .reference = [](const Tensors& in) { return map(in[0], [](double x) { return 2.5 * x - 1; }); },
         .inputs = {{{4, 5}}}});

TEST(Elementwise, EmptyInputsGiveEmptyOutputs) {
  EXPECT_EQ(add(Tensor::empty({0, 3}), Tensor::empty({3})).shape(), (Shape{0, 3}));
  EXPECT_EQ(gelu(Tensor::empty({2, 0})).numel(), 0);
}

TEST(Elementwise, TiesShareTheGradient) {
  Tensor a = Tensor::from<float>({1, 2}, {2}), b = Tensor::from<float>({1, 1}, {2});
  set_requires_grad(a);
  set_requires_grad(b);
  backward(maximum(a, b), Tensor::full({2}, 1));
  EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{0.5f, 1}));
  EXPECT_EQ(grad(b).to_vector<float>(), (std::vector<float>{0.5f, 0}));
}

TEST(Elementwise, ErrorsNameTheOpAndBothShapes) {
  try {
    add(Tensor::empty({2, 3}), Tensor::empty({4}));
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "add: shapes [2, 3] and [4] do not broadcast");
  }
  EXPECT_THROW(add(Tensor::empty({2}), Tensor::empty({2}, DType::kF64)), Error);
  EXPECT_THROW(exp(Tensor::empty({2}, DType::kI64)), Error);
}

}  // namespace
}  // namespace usol::test
