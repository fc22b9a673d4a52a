#include "usol/ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "cross_entropy",
         .op = [](const Tensors& in) { return cross_entropy(in[0], in[1]); },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(0)}, [&](const Shape& i) {
                 double total = 0;
                 for (std::int64_t k = 0; k < in[0].size(1); ++k) total += std::exp(at(in[0], {i[0], k}));
                 return -std::log(std::exp(at(in[0], {i[0], static_cast<std::int64_t>(at(in[1], i))})) / total);
               });
             },
         .inputs = {{{7, 5}, -3, 3}, {{7}, 0, 5, DType::kI64}},
         .reduction = 8,
         .bench_inputs = {{{1024, 81}, -3, 3}, {{1024}, 0, 81, DType::kI64}}});

TEST(CrossEntropy, ConfidentRowsStayFinite) {
  const Tensor logits = Tensor::from<float>({200, -200, -200, 200}, {2, 2});
  const Tensor losses = cross_entropy(logits, Tensor::from<std::int64_t>({0, 0}, {2}));
  EXPECT_EQ(losses.to_vector<float>(), (std::vector<float>{0, 400}));
}

TEST(CrossEntropy, NoRowsAndErrors) {
  EXPECT_EQ(cross_entropy(Tensor::zeros({0, 3}), Tensor::arange(0)).shape(), (Shape{0}));
  EXPECT_THROW(cross_entropy(Tensor::zeros({2, 3}), Tensor::arange(3)), Error);
  EXPECT_THROW(cross_entropy(Tensor::zeros({2, 3}), Tensor::zeros({2})), Error);
  EXPECT_THROW(cross_entropy(Tensor::zeros({2, 3}), Tensor::from<std::int64_t>({0, 3}, {2})), Error);
}

}  // namespace
}  // namespace usol::test
