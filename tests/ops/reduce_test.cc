#include "usol/ops/reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "sum",
         .op =
             [](const Tensors& in) {
               return sum(in[0], {0, -1});
             },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(1)}, [&](const Shape& i) {
                 double total = 0;
                 for (std::int64_t a = 0; a < in[0].size(0); ++a)
                   for (std::int64_t c = 0; c < in[0].size(2); ++c) total += at(in[0], {a, i[0], c});
                 return total;
               });
             },
         .inputs = {{{3, 4, 5}}},
         .reduction = 15,
         .bench_inputs = {{{64, 768, 197}}}});

OP_TEST({.name = "sum_columns",
         .op = [](const Tensors& in) { return sum(in[0], {0}); },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(1)}, [&](const Shape& i) {
                 double total = 0;
                 for (std::int64_t r = 0; r < in[0].size(0); ++r) total += at(in[0], {r, i[0]});
                 return total;
               });
             },
         .inputs = {{{300, 37}}},
         .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
         .reduction = 300,
         .gradient = false,  // that of "sum"
         .bench_inputs = {{{60800, 256}}}});

OP_TEST({.name = "amax_columns",
         .op = [](const Tensors& in) { return amax(in[0], {0}); },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(1)}, [&](const Shape& i) {
                 double top = -INFINITY;
                 for (std::int64_t r = 0; r < in[0].size(0); ++r) top = std::max(top, at(in[0], {r, i[0]}));
                 return top;
               });
             },
         .inputs = {{{20, 37}}},
         .gradient = false});  // that of "amax"

OP_TEST({.name = "mean_keepdim",
         .op = [](const Tensors& in) { return mean(in[0], {1}, true); },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(0), 1}, [&](const Shape& i) {
                 double total = 0;
                 for (std::int64_t c = 0; c < in[0].size(1); ++c) total += at(in[0], {i[0], c});
                 return total / static_cast<double>(in[0].size(1));
               });
             },
         .inputs = {{{3, 700}}},
         .reduction = 700});

OP_TEST({.name = "amax",
         .op = [](const Tensors& in) { return amax(in[0], {1}); },
         .reference =
             [](const Tensors& in) {
               return build({in[0].size(0)}, [&](const Shape& i) {
                 double top = -INFINITY;
                 for (std::int64_t c = 0; c < in[0].size(1); ++c) top = std::max(top, at(in[0], {i[0], c}));
                 return top;
               });
             },
         .inputs = {{{5, 9}}}});

TEST(Reduce, OverNothing) {
  EXPECT_EQ(sum(Tensor::empty({0, 3}), {0}).to_vector<float>(), (std::vector<float>{0, 0, 0}));
  EXPECT_THROW(mean(Tensor::empty({0})), Error);
  EXPECT_THROW(amax(Tensor::empty({0})), Error);
  EXPECT_THROW(sum(Tensor::empty({2, 2}), {0, 0}), Error);
  EXPECT_THROW(sum(Tensor::empty({2, 2}), {2}), Error);
}

TEST(Reduce, MaximumKeepsNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(amax(Tensor::from<float>({1, nan, 2}, {3})).item()));
}

TEST(Reduce, TiedMaximaShareTheGradient) {
  Tensor a = Tensor::from<float>({2, 1, 2}, {3});
  set_requires_grad(a);
  backward(amax(a));
  EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{0.5f, 0, 0.5f}));
}

}  // namespace
}  // namespace usol::test
