#include "usol/ops/topk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Selection sort: the largest not yet taken, the first of equals.
std::vector<std::int64_t> naive_order(const Tensor& a, std::int64_t row, std::int64_t k) {
  std::vector<std::int64_t> order;
  for (std::int64_t step = 0; step < k; ++step) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < a.size(-1); ++i) {
      if (std::find(order.begin(), order.end(), i) != order.end()) continue;
      if (best < 0 || at(a, {row, i}) > at(a, {row, best})) best = i;
    }
    order.push_back(best);
  }
  return order;
}

OP_TEST({.name = "topk_values",
         .op = [](const Tensors& in) { return topk(in[0], 4).values; },
         .reference =
             [](const Tensors& in) {
               return build({3, 4}, [&](const Shape& i) {
                 return at(in[0], {i[0], naive_order(in[0], i[0], 4)[static_cast<std::size_t>(i[1])]});
               });
             },
         .inputs = {{{3, 11}}},
         .bench_inputs = {{{1, 200000}}}});

// Few distinct values, so that ties decide.
OP_TEST({.name = "topk_indices_of_ties",
         .op = [](const Tensors& in) { return topk(in[0].to(DType::kF32), 12).indices; },
         .reference =
             [](const Tensors& in) {
               return build({2, 12}, [&](const Shape& i) {
                 return static_cast<double>(naive_order(in[0], i[0], 12)[static_cast<std::size_t>(i[1])]);
               });
             },
         .inputs = {{{2, 40}, 0, 3, DType::kI32}},
         .gradient = false});

OP_TEST({.name = "argmax",
         .op = [](const Tensors& in) { return argmax(in[0].to(DType::kF32), 0); },
         .reference =
             [](const Tensors& in) {
               return build({3}, [&](const Shape& i) {
                 return static_cast<double>(naive_order(in[0].transpose(0, 1), i[0], 1)[0]);
               });
             },
         .inputs = {{{40, 3}, 0, 3, DType::kI32}},
         .gradient = false});

TEST(TopK, NanIsTheLargest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor a = Tensor::from<float>({1, nan, 3, nan}, {4});
  EXPECT_EQ(topk(a, 4).indices.to_vector<std::int64_t>(), (std::vector<std::int64_t>{1, 3, 2, 0}));
  EXPECT_EQ(argmax(a).item(), 1);
}

TEST(TopK, SizesAndErrors) {
  EXPECT_EQ(topk(Tensor::zeros({2, 3}), 0).indices.shape(), (Shape{2, 0}));
  EXPECT_EQ(topk(Tensor::zeros({0, 3}), 2).values.shape(), (Shape{0, 2}));
  EXPECT_THROW(topk(Tensor::zeros({2, 3}), 4), Error);
  EXPECT_THROW(topk(Tensor::arange(4), 2), Error);
  EXPECT_THROW(argmax(Tensor::zeros({3, 0})), Error);
}

}  // namespace
}  // namespace usol::test
