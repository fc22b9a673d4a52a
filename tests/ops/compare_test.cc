#include "usol/ops/compare.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OpCase compare_case(const char* name, Tensor (*op)(const Tensor&, const Tensor&), bool (*f)(double, double)) {
  // Small integers, so that there are ties.
  return {.name = name,
          .op = [op](const Tensors& in) { return op(in[0], in[1]); },
          .reference =
              [f](const Tensors& in) {
                return zip(in[0].to(DType::kF64), in[1].to(DType::kF64),
                           [f](double a, double b) { return f(a, b) ? 1.0 : 0.0; });
              },
          .inputs = {{{3, 4, 5}, 0, 3, DType::kI32}, {{4, 1}, 0, 3, DType::kI32}},
          .gradient = false};
}

OpCase logical_case(const char* name, Tensor (*op)(const Tensor&, const Tensor&), bool (*f)(double, double)) {
  OpCase out = compare_case(name, op, f);
  for (Input& input : out.inputs) input = {input.shape, 0, 2, DType::kBool};
  return out;
}

TEST(Compare, Floats) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor a = Tensor::from<float>({1, 2, nan}, {3});
  const auto bits = [](const Tensor& t) { return t.to(DType::kU8).to_vector<std::uint8_t>(); };
  using Bits = std::vector<std::uint8_t>;
  EXPECT_EQ(bits(equal(a, 2)), (Bits{0, 1, 0}));
  EXPECT_EQ(bits(not_equal(a, 2)), (Bits{1, 0, 1}));
  EXPECT_EQ(bits(less(a, 2)), (Bits{1, 0, 0}));
  EXPECT_EQ(bits(less_equal(a, 2)), (Bits{1, 1, 0}));
  EXPECT_EQ(bits(greater(a, 1)), (Bits{0, 1, 0}));
  EXPECT_EQ(bits(greater_equal(a, a)), (Bits{1, 1, 0}));
  EXPECT_EQ(bits(logical_not(equal(a, a))), (Bits{0, 0, 1}));
}

OP_TEST(compare_case("equal", equal, [](double a, double b) { return a == b; }));
OP_TEST(compare_case("not_equal", not_equal, [](double a, double b) { return a != b; }));
OP_TEST(compare_case("less", less, [](double a, double b) { return a < b; }));
OP_TEST(compare_case("less_equal", less_equal, [](double a, double b) { return a <= b; }));
OP_TEST(compare_case("greater", greater, [](double a, double b) { return a > b; }));
OP_TEST(compare_case("greater_equal", greater_equal, [](double a, double b) { return a >= b; }));
OP_TEST(logical_case("logical_and", logical_and, [](double a, double b) { return a != 0 && b != 0; }));
OP_TEST(logical_case("logical_or", logical_or, [](double a, double b) { return a != 0 || b != 0; }));

OP_TEST({.name = "where",
         .op = [](const Tensors& in) { return where(in[0], in[1], in[2]); },
         .reference =
             [](const Tensors& in) {
               return build({2, 3, 4}, [&](const Shape& i) {
                 return at(in[0], {i[1], i[2]}) != 0 ? at(in[1], {i[0], 0, i[2]}) : at(in[2], {i[2]});
               });
             },
         .inputs = {{{3, 4}, 0, 2, DType::kBool}, {{2, 1, 4}}, {{4}}},
         .bench_inputs = {{{3601, 768}, 0, 2, DType::kBool}, {{3601, 768}}, {{3601, 768}}}});

OP_TEST({.name = "masked_fill",
         .op = [](const Tensors& in) { return masked_fill(in[0], in[1], -2.5); },
         .reference =
             [](const Tensors& in) {
               return zip(in[0], in[1].to(DType::kF64), [](double a, double m) { return m != 0 ? -2.5 : a; });
             },
         .inputs = {{{3, 4}}, {{4}, 0, 2, DType::kBool}}});

TEST(Nonzero, PositionsInOrder) {
  const Tensor mask = greater(Tensor::from<float>({1, -1, 2, 0, 0, 3}, {2, 3}), 0);
  EXPECT_EQ(nonzero(mask).to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 2, 5}));
  EXPECT_EQ(nonzero(mask.transpose(0, 1)).to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 4, 5}));
  EXPECT_EQ(nonzero(Tensor::zeros({0}, DType::kBool)).shape(), (Shape{0}));
}

TEST(Compare, Errors) {
  EXPECT_THROW(equal(Tensor::zeros({2}), Tensor::arange(2)), Error);
  EXPECT_THROW(where(Tensor::zeros({2}), Tensor::zeros({2}), Tensor::zeros({2})), Error);
  EXPECT_THROW(masked_fill(Tensor::zeros({2}), Tensor::zeros({3, 2}, DType::kBool), 0), Error);
  EXPECT_THROW(logical_and(Tensor::zeros({2}), Tensor::zeros({2})), Error);
}

}  // namespace
}  // namespace usol::test
