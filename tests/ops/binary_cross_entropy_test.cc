#include "usol/ops/binary_cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "binary_cross_entropy_with_logits",
         .op = [](const Tensors& in) { return binary_cross_entropy_with_logits(in[0], in[1]); },
         .reference =
             [](const Tensors& in) {
               return zip(in[0], in[1], [](double x, double t) {
                 const double p = 1 / (1 + std::exp(-x));
                 return -t * std::log(p) - (1 - t) * std::log(1 - p);
               });
             },
         .inputs = {{{5, 7}, -4, 4}, {{5, 7}, 0, 1}},
         .reduction = 8,
         .bench_inputs = {{{100, 28, 28}, -4, 4}, {{100, 28, 28}, 0, 1}}});

TEST(BinaryCrossEntropy, LargeLogits) {
  const Tensor x = Tensor::from<float>({500, -500, 500}, {3}), t = Tensor::from<float>({1, 0, 0}, {3});
  EXPECT_EQ(binary_cross_entropy_with_logits(x, t).to_vector<float>(), (std::vector<float>{0, 0, 500}));
}

TEST(BinaryCrossEntropy, GradientAtZeroIsHalfMinusTarget) {
  Tensor x = Tensor::zeros({2});
  set_requires_grad(x);
  backward(binary_cross_entropy_with_logits(x, Tensor::from<float>({0, 1}, {2})), Tensor::full({2}, 1));
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{0.5f, -0.5f}));
}

TEST(BinaryCrossEntropy, Errors) {
  EXPECT_THROW(binary_cross_entropy_with_logits(Tensor::zeros({2}), Tensor::zeros({3})), Error);
  EXPECT_THROW(binary_cross_entropy_with_logits(Tensor::zeros({2}), Tensor::arange(2)), Error);
}

}  // namespace
}  // namespace usol::test
