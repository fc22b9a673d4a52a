#include "usol/ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::test {
namespace {

// Row i of head [x[0], x[1]] in a dense [N, heads, rows, D].
const double* row(const Tensor& t, const Shape& x, std::int64_t i) {
  return t.data<double>() + ((x[0] * t.size(1) + x[1]) * t.size(2) + i) * t.size(3);
}

// in: q, k, v, and the bias by rows and columns if there is one; then the keys are the pixels of a map.
Tensor naive_attention(const Tensors& in) {
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const std::int64_t w = in.size() > 3 ? in[4].size(3) : 0;
  const Tensor weights = build({q.size(0), q.size(1), q.size(2), k.size(2)}, [&](const Shape& x) {
    const double *query = row(q, x, x[2]), *key = row(k, x, x[3]);
    double score = 0;
    for (std::int64_t d = 0; d < q.size(3); ++d) score += query[d] * key[d];
    const double bias = w == 0 ? 0 : row(in[3], x, x[2])[x[3] / w] + row(in[4], x, x[2])[x[3] % w];
    return std::exp(score * scale + bias);
  });
  return build(q.shape(), [&](const Shape& x) {
    double total = 0, sum = 0;
    for (std::int64_t j = 0; j < k.size(2); ++j) {
      const double e = row(weights, x, x[2])[j];
      total += e;
      sum += e * row(v, x, j)[x[3]];
    }
    return sum / total;
  });
}

OpCase attention_case(const char* name, Shape q, Shape k, bool gradient) {
  return {.name = name,
          .op = [](const Tensors& in) { return attention(in[0], in[1], in[2]); },
          .reference = naive_attention,
          .inputs = {{q, -3, 3}, {k, -3, 3}, {k}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = k[2] + 4 * k[3],
          .gradient = gradient,
          .bench_inputs = {}};
}

OpCase timed(OpCase op_case) {
  const Shape vit_b8{1, 12, 3601, 64};
  op_case.bench_inputs = {{vit_b8}, {vit_b8}, {vit_b8}};
  op_case.bench_flop = 4.0 * 12 * 3601 * 3601 * 64;
  return op_case;
}

OP_TEST(timed(attention_case("attention", {2, 3, 3, 8}, {2, 3, 5, 8}, true)));
OP_TEST(attention_case("attention_blocks", {1, 2, 59, 64}, {1, 2, 315, 64}, false));
OP_TEST(attention_case("attention_odd_width", {1, 5, 50, 20}, {1, 5, 33, 20}, false));
OP_TEST(attention_case("attention_one_key", {1, 1, 3, 4}, {1, 1, 1, 4}, true));

// A map of h x w keys.
OpCase biased_case(const char* name, Shape q, std::int64_t h, std::int64_t w, bool gradient) {
  const Shape k{q[0], q[1], h * w, q[3]};
  return {.name = name,
          .op = [](const Tensors& in) { return attention(in[0], in[1], in[2], 0, {.rows = in[3], .columns = in[4]}); },
          .reference = naive_attention,
          .inputs = {{q, -3, 3}, {k, -3, 3}, {k}, {{q[0], q[1], q[2], h}, -2, 2}, {{q[0], q[1], q[2], w}, -2, 2}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = k[2] + 4 * k[3],
          .gradient = gradient,
          .bench_inputs = {}};
}

OP_TEST(biased_case("attention_biased", {2, 2, 3, 5}, 2, 3, true));
OP_TEST(biased_case("attention_biased_one_row", {1, 1, 3, 4}, 1, 4, true));
OP_TEST(biased_case("attention_biased_blocks", {1, 2, 70, 20}, 7, 45, false));

// Several blocks of queries and chunks of keys, which the cases above have for values only.
TEST(Attention, GradientsOfTheBiasOverBlocks) {
  const auto make = [](DType dtype) {
    Tensors in = make_inputs({{{1, 1, 150, 8}, -2, 2},
                              {{1, 1, 180, 8}, -2, 2},
                              {{1, 1, 180, 8}},
                              {{1, 1, 150, 9}, -2, 2},
                              {{1, 1, 150, 20}, -2, 2}},
                             dtype, {});
    for (Tensor& t : in) set_requires_grad(t);
    const Tensor out = attention(in[0], in[1], in[2], 0, {.rows = in[3], .columns = in[4]});
    Tensor seed = Tensor::zeros(out.shape(), dtype);
    for (std::int64_t r = 0; r < 150; ++r) seed.select(2, r).fill(0.1 * static_cast<double>(r % 7) - 0.2);
    backward(out, seed);
    return in;
  };
  // The bias as further elements of queries and keys, of which the gradient is tested elsewhere.
  const Tensors in = make(DType::kF64);
  Tensor one_hot = Tensor::zeros({1, 1, 180, 29}, DType::kF64);
  for (std::int64_t j = 0; j < 180; ++j) {
    one_hot.select(2, j).select(2, j / 20).fill(1);
    one_hot.select(2, j).select(2, 9 + j % 20).fill(1);
  }
  Tensors same;
  for (const Tensor& t : in) same.push_back(t.detach().clone());
  for (Tensor& t : same) set_requires_grad(t);
  const Tensor q = concat({affine(same[0], 1 / std::sqrt(8.0)), same[3], same[4]}, 3);
  const Tensor v = concat({same[2], Tensor::zeros({1, 1, 180, 29}, DType::kF64)}, 3);
  const Tensor out = slice(attention(q, concat({same[1], one_hot}, 3), v, 1), 3, 0, 8);
  Tensor seed = Tensor::zeros(out.shape(), DType::kF64);
  for (std::int64_t r = 0; r < 150; ++r) seed.select(2, r).fill(0.1 * static_cast<double>(r % 7) - 0.2);
  backward(out, seed);
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_LE(relative_error(grad(in[i]), grad(same[i])), 1e-12) << i;
  const Tensors narrow = make(DType::kF32);
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_LE(relative_error(grad(narrow[i]), grad(in[i])), 1e-5) << i;
}

TEST(Attention, LargeScoresDoNotOverflow) {
  const Tensor q = Tensor::full({1, 1, 2, 4}, 100), k = Tensor::full({1, 1, 300, 4}, 100);
  Tensor v = Tensor::zeros({1, 1, 300, 4});
  v.select(2, 7).fill(300);
  for (float x : attention(q, k, v).to_vector<float>()) EXPECT_NEAR(x, 1.0f, 1e-5f);
}

TEST(Attention, ThreadCountDoesNotChangeTheBits) {
  const Tensors in = make_inputs({{{1, 3, 130, 32}}, {{1, 3, 600, 32}}, {{1, 3, 600, 32}}}, DType::kF32, {});
  const auto two = attention(in[0], in[1], in[2]).to_vector<float>();
  set_thread_count(1);
  const auto one = attention(in[0], in[1], in[2]).to_vector<float>();
  set_thread_count(0);
  EXPECT_EQ(one, two);
}

TEST(Attention, TheResultMergesHeadsWithoutACopy) {
  const Tensors in = make_inputs({{{2, 3, 5, 8}}}, DType::kF32, {});
  const Tensor out = attention(in[0], in[0], in[0]);
  EXPECT_EQ(out.transpose(1, 2).reshape({2, 5, 24}).raw(), out.raw());
}

TEST(Attention, Errors) {
  const Tensor q = Tensor::zeros({1, 2, 3, 4});
  EXPECT_THROW(attention(q, Tensor::zeros({1, 2, 3, 5}), Tensor::zeros({1, 2, 3, 5})), Error);
  EXPECT_THROW(attention(q, Tensor::zeros({1, 2, 0, 4}), Tensor::zeros({1, 2, 0, 4})), Error);
  EXPECT_THROW(attention(q, q, Tensor::zeros({1, 2, 3, 4}, DType::kF64)), Error);
  const Tensor row = Tensor::zeros({1, 2, 3, 1}), column = Tensor::zeros({1, 2, 3, 3});
  EXPECT_NO_THROW(attention(q, q, q, 0, {.rows = row, .columns = column}));
  EXPECT_THROW(attention(q, q, q, 0, {.rows = column, .columns = column}), Error);
  EXPECT_THROW(attention(q, q, q, 0, {.rows = row, .columns = {}}), Error);
  EXPECT_THROW(attention(q, q, q, 0, {.rows = row.to(DType::kF64), .columns = column.to(DType::kF64)}), Error);
}

}  // namespace
}  // namespace usol::test
