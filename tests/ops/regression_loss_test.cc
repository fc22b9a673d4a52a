#include "usol/ops/regression_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "l1_loss",
         .op = [](const Tensors& in) { return l1_loss(in[0], in[1]); },
         .reference =
             [](const Tensors& in) { return zip(in[0], in[1], [](double a, double b) { return std::abs(a - b); }); },
         .inputs = {{{6, 4}}, {{6, 4}}}});

// The integral of its slope, which grows linearly to 1 at beta and stays there.
OP_TEST({.name = "smooth_l1_loss",
         .op = [](const Tensors& in) { return smooth_l1_loss(in[0], in[1], 0.4); },
         .reference =
             [](const Tensors& in) {
               return zip(in[0], in[1], [](double a, double b) {
                 const double d = std::abs(a - b), bent = std::min(d, 0.4);
                 return bent * (bent / 0.4) / 2 + (d - bent);
               });
             },
         .inputs = {{{6, 4}}, {{6, 4}}},
         .reduction = 8});

TEST(RegressionLoss, BetaZeroIsL1AndEqualValuesHaveNoGradient) {
  Tensor a = Tensor::from<float>({1, -2}, {2});
  const Tensor b = Tensor::from<float>({1, 3}, {2});
  EXPECT_EQ(smooth_l1_loss(a, b, 0).to_vector<float>(), (std::vector<float>{0, 5}));
  for (double beta : {0.0, 1.0}) {
    set_requires_grad(a);
    backward(smooth_l1_loss(a, b, beta), Tensor::full({2}, 1));
    EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{0, -1}));
  }
  EXPECT_THROW(smooth_l1_loss(a, b, -1), Error);
}

}  // namespace
}  // namespace usol::test
