#include "usol/ops/concat.h"

#include <gtest/gtest.h>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "concat",
         .op = [](const Tensors& in) { return concat(in, -1); },
         .reference =
             [](const Tensors& in) {
               return build({2, 8}, [&](const Shape& i) {
                 if (i[1] < 3) return at(in[0], i);
                 return i[1] < 4 ? at(in[1], {i[0], i[1] - 3}) : at(in[2], {i[0], i[1] - 4});
               });
             },
         .inputs = {{{2, 3}}, {{2, 1}}, {{2, 4}}}});

OP_TEST({.name = "stack",
         .op = [](const Tensors& in) { return stack(in, 1); },
         .reference =
             [](const Tensors& in) {
               return build({3, 2, 4}, [&](const Shape& i) {
                 return at(in[static_cast<std::size_t>(i[1])], {i[0], i[2]});
               });
             },
         .inputs = {{{3, 4}}, {{3, 4}}}});

OP_TEST({.name = "split",
         .op =
             [](const Tensors& in) {
               const auto parts = split(in[0], {1, 3, 2}, 1);
               return concat({parts[2], parts[0], parts[1]}, 1);
             },
         .reference =
             [](const Tensors& in) {
               return build({3, 6}, [&](const Shape& i) { return at(in[0], {i[0], (i[1] + 4) % 6}); });
             },
         .inputs = {{{3, 6}}}});

TEST(Concat, EmptyPartsAndIntegers) {
  EXPECT_EQ(concat({Tensor::empty({0, 2}), Tensor::zeros({3, 2})}).shape(), (Shape{3, 2}));
  EXPECT_EQ(concat({Tensor::arange(2), Tensor::arange(1)}).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{0, 1, 0}));
}

TEST(Concat, OneTensorTwiceGetsBothGradients) {
  Tensor a = Tensor::from<float>({1, 2}, {2});
  set_requires_grad(a);
  backward(concat({a, a}), Tensor::from<float>({1, 2, 3, 4}, {4}));
  EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{4, 6}));
}

TEST(Concat, Errors) {
  EXPECT_THROW(concat({}), Error);
  EXPECT_THROW(concat({Tensor::zeros({2, 3}), Tensor::zeros({3, 3})}, 1), Error);
  EXPECT_THROW(concat({Tensor::zeros({2}), Tensor::zeros({2, 1})}), Error);
  EXPECT_THROW(concat({Tensor::zeros({2}), Tensor::arange(2)}), Error);
  EXPECT_THROW(split(Tensor::zeros({4}), {1, 2}), Error);
}

}  // namespace
}  // namespace usol::test
