#include "ops/attention.h"

#include <gtest/gtest.h>

#include "autograd/grad_mode.h"
#include "autograd/tape.h"
#include "tensor/error.h"
#include "tensor/parallel.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"

namespace usol::test {
namespace {

Tensor naive_attention(const Tensors& in) {
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const Tensor weights = build({q.size(0), q.size(1), q.size(2), k.size(2)}, [&](const Shape& x) {
    double score = 0;
    for (std::int64_t d = 0; d < q.size(3); ++d) score += at(q, {x[0], x[1], x[2], d}) * at(k, {x[0], x[1], x[3], d});
    return std::exp(score * scale);
  });
  return build(q.shape(), [&](const Shape& x) {
    double total = 0, sum = 0;
    for (std::int64_t j = 0; j < k.size(2); ++j) {
      const double e = at(weights, {x[0], x[1], x[2], j});
      total += e;
      sum += e * at(v, {x[0], x[1], j, x[3]});
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

OP_TEST(timed(attention_case("attention", {2, 3, 5, 8}, {2, 3, 7, 8}, true)));
OP_TEST(attention_case("attention_blocks", {1, 2, 59, 64}, {1, 2, 315, 64}, false));
OP_TEST(attention_case("attention_odd_width", {1, 5, 50, 20}, {1, 5, 33, 20}, false));
OP_TEST(attention_case("attention_one_key", {1, 1, 3, 4}, {1, 1, 1, 4}, true));

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
}

}  // namespace
}  // namespace usol::test
