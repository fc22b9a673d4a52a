#include "usol/ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/ops/matmul.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr std::int64_t kHeight = 2, kWidth = 3;

// The angle by which DINOv3 turns number k < D / 2 of patch p of the grid.
double angle(std::int64_t p, std::int64_t k, std::int64_t width) {
  const std::int64_t periods = width / 4;
  const double period = std::pow(100.0, static_cast<double>(k % periods) / static_cast<double>(periods));
  const std::int64_t place = k < periods ? p / kWidth : p % kWidth, side = k < periods ? kHeight : kWidth;
  return 2 * std::numbers::pi * ((2.0 * static_cast<double>(place) + 1) / static_cast<double>(side) - 1) / period;
}

// A rotation as a product of complex numbers: x[k] + i x[k + D / 2], times exp(i angle).
Tensor naive(const Tensor& x) {
  const std::int64_t half = x.size(3) / 2, first = x.size(2) - kHeight * kWidth;
  return build(x.shape(), [&](const Shape& i) {
    if (i[2] < first) return at(x, i);
    const std::int64_t k = i[3] % half;
    const std::complex<double> value(at(x, {i[0], i[1], i[2], k}), at(x, {i[0], i[1], i[2], k + half}));
    const std::complex<double> turned = value * std::polar(1.0, angle(i[2] - first, k, x.size(3)));
    return i[3] < half ? turned.real() : turned.imag();
  });
}

OpCase rope_case(const char* name, std::int64_t tokens) {
  return {.name = name,
          .op =
              [](const Tensors& in) {
                const RopeTable table = rope_table(kHeight, kWidth, rope_periods(in[0].size(3)));
                const Device device = in[0].device();
                return rope(in[0], table.cos.to(device), table.sin.to(device));
              },
          .reference = [](const Tensors& in) { return naive(in[0]); },
          .inputs = {{{2, 3, tokens, 8}, -2, 3}},
          // In f64 the table's own f32 would show.
          .dtypes = {DType::kF32, DType::kF16, DType::kBF16},
          .cuda_dtypes = {DType::kF32, DType::kF16, DType::kBF16},
          .reduction = 2,
          .bench_inputs = {{{1, 12, 905, 64}}}};
}

OP_TEST(rope_case("rope", kHeight* kWidth));
OP_TEST(rope_case("rope_after_other_tokens", kHeight* kWidth + 2));

// The product of two turned vectors depends on the difference of their places alone.
TEST(Rope, ScoresDependOnDifferences) {
  const Tensor x = make_inputs({{{1, 1, 1, 8}}, {{1, 1, 1, 8}}}, DType::kF32, {})[0];
  const RopeTable table = rope_table(4, 5, rope_periods(8));
  const Tensor same = expand(x, {1, 1, 20, 8}), turned = rope(same, table.cos, table.sin);
  const Tensor scores = matmul(turned, transpose(turned, 2, 3));
  const auto score = [&](std::int64_t r1, std::int64_t c1, std::int64_t r2, std::int64_t c2) {
    return at(scores, {0, 0, r1 * 5 + c1, r2 * 5 + c2});
  };
  EXPECT_NEAR(score(0, 1, 2, 4), score(1, 0, 3, 3), 1e-5);
  EXPECT_NEAR(score(0, 0, 0, 0), score(3, 4, 3, 4), 1e-5);
  EXPECT_GT(std::abs(score(0, 1, 2, 4) - score(0, 1, 2, 3)), 1e-3);
}

// A single patch lies in the middle, at 0.
TEST(Rope, TheTableOfOnePatchTurnsNothing) {
  const RopeTable table = rope_table(1, 1, rope_periods(8));
  EXPECT_EQ(table.cos.to_vector<float>(), std::vector<float>(8, 1.0f));
  EXPECT_EQ(table.sin.to_vector<float>(), std::vector<float>(8, 0.0f));
}

// Numbers that are turned into each other by different cosines and sines, in f64, where the gradient is checked, too.
OP_TEST({.name = "rope_by_any_table",
         .op = [](const Tensors& in) { return rope(in[0], in[1], in[2]); },
         .reference =
             [](const Tensors& in) {
               const std::int64_t width = in[0].size(3), half = width / 2, first = in[0].size(2) - in[1].size(0);
               return build(in[0].shape(), [&](const Shape& i) {
                 if (i[2] < first) return at(in[0], i);
                 const std::int64_t other = i[3] < half ? i[3] + half : i[3] - half, row = i[2] - first;
                 return at(in[0], i) * at(in[1], {row, i[3]}) +
                        (i[3] < half ? -1 : 1) * at(in[0], {i[0], i[1], i[2], other}) * at(in[2], {row, i[3]});
               });
             },
         .inputs = {{{2, 2, 4, 6}, -2, 3},
                    {.shape = {3, 6}, .differentiable = false},
                    {.shape = {3, 6}, .differentiable = false}},
         .cuda_dtypes = {DType::kF32, DType::kF64},
         .reduction = 2});

TEST(Rope, ThePeriodsAreDinov3s) {
  EXPECT_EQ(rope_periods(8).to_vector<float>(), (std::vector<float>{1, 10}));
  EXPECT_EQ(rope_periods(64).size(0), 16);
  EXPECT_FLOAT_EQ(rope_periods(64).to_vector<float>()[15], static_cast<float>(std::pow(100.0, 15.0 / 16)));
  // Others that a file holds count as they are.
  const RopeTable table = rope_table(1, 2, Tensor::from<float>({2, 4}, {2}));
  EXPECT_FLOAT_EQ(table.sin.to_vector<float>()[2], static_cast<float>(std::sin(2 * std::numbers::pi * -0.5 / 2)));
  EXPECT_FLOAT_EQ(table.sin.to_vector<float>()[3], static_cast<float>(std::sin(2 * std::numbers::pi * -0.5 / 4)));
}

TEST(Rope, Errors) {
  const RopeTable table = rope_table(2, 2, rope_periods(8));
  EXPECT_THROW(rope(Tensor::zeros({1, 1, 3, 8}), table.cos, table.sin), Error);
  EXPECT_THROW(rope(Tensor::zeros({1, 1, 4, 4}), table.cos, table.sin), Error);
  EXPECT_THROW(rope(Tensor::zeros({1, 4, 8}), table.cos, table.sin), Error);
  EXPECT_THROW(rope(Tensor::zeros({1, 1, 4, 8}), table.cos.to(DType::kF16), table.sin.to(DType::kF16)), Error);
  EXPECT_THROW(rope_periods(6), Error);
  EXPECT_THROW(rope_periods(8, 0), Error);
  EXPECT_THROW(rope_table(0, 2, rope_periods(8)), Error);
  EXPECT_THROW(rope_table(2, 2, Tensor::zeros({2, 1})), Error);
}

}  // namespace
}  // namespace usol::test
