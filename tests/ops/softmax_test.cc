#include "usol/ops/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

Tensor naive(const Tensor& a, int dim, bool log) {
  return build(a.shape(), [&](const Shape& i) {
    double total = 0;
    Shape j = i;
    for (j[dim] = 0; j[dim] < a.size(dim); ++j[dim]) total += std::exp(at(a, j));
    return log ? at(a, i) - std::log(total) : std::exp(at(a, i)) / total;
  });
}

OpCase softmax_case(const char* name, bool log, int dim, const Shape& shape) {
  return {.name = name,
          .op = [=](const Tensors& in) { return log ? log_softmax(in[0], dim) : softmax(in[0], dim); },
          .reference = [=](const Tensors& in) { return naive(in[0], dim, log); },
          .inputs = {{shape, -4, 4}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = shape[dim],
          .bench_inputs = {{{3601, 3601}, -4, 4}}};
}

OP_TEST(softmax_case("softmax", false, -1, {3, 5, 37}));
OP_TEST(softmax_case("softmax_two_classes", false, 1, {9, 2}));
OP_TEST(softmax_case("softmax_channels", false, 1, {2, 7, 3, 2}));
OP_TEST([] {
  OpCase c = softmax_case("softmax_long_row", false, -1, {1, 600});  // takes the largest blocks on a GPU
  c.bench_inputs = {};
  return c;
}());
OP_TEST(softmax_case("log_softmax", true, -1, {3, 37}));
OP_TEST(softmax_case("log_softmax_first", true, 0, {5, 3}));

TEST(Softmax, LargeValuesDoNotOverflow) {
  const Tensor big = Tensor::from<float>({1000, 1001, -1000}, {3});
  EXPECT_NEAR(softmax(big).select(0, 1).item(), 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(log_softmax(big).select(0, 2).item(), -2001 - std::log1p(std::exp(-1.0)), 1e-3);
}

TEST(Softmax, MinusInfinityIsProbabilityZero) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(softmax(Tensor::from<float>({-inf, 3, -inf}, {3})).to_vector<float>(), (std::vector<float>{0, 1, 0}));
}

TEST(Softmax, NanSpreadsOverItsRow) {
  Tensor a = Tensor::zeros({2, 40});
  a.mutable_data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  for (const Tensor& y : {softmax(a), log_softmax(a)}) {
    EXPECT_TRUE(std::isnan(at(y, {0, 0})) && std::isnan(at(y, {0, 39})));
    EXPECT_FALSE(std::isnan(at(y, {1, 3})));
  }
}

TEST(Softmax, EmptyAndErrors) {
  EXPECT_EQ(softmax(Tensor::empty({0, 4})).shape(), (Shape{0, 4}));
  EXPECT_EQ(softmax(Tensor::empty({4, 0})).shape(), (Shape{4, 0}));
  EXPECT_THROW(softmax(Tensor::empty({4}, DType::kI64)), Error);
  EXPECT_THROW(softmax(Tensor::empty({4}), 1), Error);
}

}  // namespace
}  // namespace usol::test
