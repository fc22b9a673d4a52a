#include "usol/ops/matmul.h"

#include <gtest/gtest.h>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Over the broadcast batch, element by element.
Tensor naive_matmul(const Tensor& a, const Tensor& b) {
  Shape shape_a = a.shape(), shape_b = b.shape();
  const std::int64_t k = shape_a[-1], n = shape_b[-1];
  shape_a[-1] = n;
  shape_b[-1] = n;
  shape_b[-2] = 1;  // broadcasting then leaves the batch, m and n
  return build(broadcast_shapes(shape_a, shape_b, "naive"), [&](const Shape& i) {
    const auto index = [&](const Tensor& t, std::int64_t row, std::int64_t col) {
      Shape out = t.shape();
      for (int d = 0; d < t.rank(); ++d) out[d] = t.size(d) == 1 ? 0 : i[d + i.rank() - t.rank()];
      out[-2] = row;
      out[-1] = col;
      return out;
    };
    double total = 0;
    for (std::int64_t x = 0; x < k; ++x) total += at(a, index(a, i[-2], x)) * at(b, index(b, x, i[-1]));
    return total;
  });
}

OpCase matmul_case(const char* name, const Shape& a, const Shape& b) {
  return {.name = name,
          .op = [](const Tensors& in) { return matmul(in[0], in[1]); },
          .reference = [](const Tensors& in) { return naive_matmul(in[0], in[1]); },
          .inputs = {{a}, {b}},
          .dtypes = {DType::kF32, DType::kF64, DType::kBF16, DType::kF16},
          .reduction = a[-1],
          .both_backends = true};
}
OpCase timed(OpCase op_case, const Shape& a, const Shape& b) {
  op_case.bench_inputs = {{a}, {b}};
  op_case.bench_flop = 2.0 * static_cast<double>(a.numel()) * static_cast<double>(b[-1]);
  return op_case;
}

OP_TEST(timed(matmul_case("matmul", {7, 5}, {5, 6}), {3601, 768}, {768, 3072}));
OP_TEST(timed(matmul_case("matmul_batched", {2, 3, 4, 5}, {2, 3, 5, 3}), {12, 3601, 64}, {12, 64, 3601}));
OP_TEST(matmul_case("matmul_broadcast_left", {4, 5}, {3, 5, 2}));
OP_TEST(matmul_case("matmul_broadcast_right", {3, 2, 4, 5}, {5, 2}));
OP_TEST(matmul_case("matmul_broadcast_both", {3, 1, 4, 5}, {2, 5, 3}));
OP_TEST(matmul_case("matmul_one_row", {1, 9}, {9, 1}));

OP_TEST({.name = "matmul_transposed_views",
         .op = [](const Tensors& in) { return matmul(in[0].transpose(0, 1), in[1].transpose(1, 2)); },
         .reference =
             [](const Tensors& in) {
               return naive_matmul(in[0].transpose(0, 1).contiguous(), in[1].transpose(1, 2).contiguous());
             },
         .inputs = {{{5, 4}}, {{2, 6, 5}}},
         .reduction = 5,
         .gradient = false,
         .both_backends = true});  // Tensor::transpose is a view without a gradient

TEST(Matmul, EmptySizes) {
  EXPECT_EQ(matmul(Tensor::empty({0, 3}), Tensor::empty({3, 2})).shape(), (Shape{0, 2}));
  EXPECT_EQ(matmul(Tensor::empty({0, 4, 3}), Tensor::empty({3, 2})).shape(), (Shape{0, 4, 2}));
  EXPECT_EQ(matmul(Tensor::empty({2, 0}), Tensor::empty({0, 2})).to_vector<float>(), (std::vector<float>{0, 0, 0, 0}));
}

TEST(Matmul, LayoutsOfViews) {
  const Tensor t = Tensor::empty({4, 6});
  EXPECT_FALSE(matrix_layout(t)->transposed);
  EXPECT_EQ(matrix_layout(t)->leading_elements, 6);
  EXPECT_TRUE(matrix_layout(t.transpose(0, 1))->transposed);
  EXPECT_EQ(matrix_layout(t.slice(1, 0, 3))->leading_elements, 6);
  EXPECT_FALSE(matrix_layout(t.slice(1, 0, 6, 2)).has_value());
  EXPECT_FALSE(matrix_layout(Tensor::empty({1, 6}).expand({4, 6})).has_value());
  EXPECT_EQ(matrix_layout(Tensor::empty({1, 6}))->leading_elements, 6);
}

TEST(Matmul, ErrorsShowBothShapes) {
  try {
    matmul(Tensor::empty({2, 3}), Tensor::empty({4, 5}));
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "matmul: shapes [2, 3] and [4, 5] do not multiply");
  }
  EXPECT_THROW(matmul(Tensor::empty({3}), Tensor::empty({3, 5})), Error);
  EXPECT_THROW(matmul(Tensor::empty({2, 4, 3}), Tensor::empty({3, 3, 5})), Error);
  EXPECT_THROW(matmul(Tensor::empty({2, 3}), Tensor::empty({3, 5}, DType::kF64)), Error);
}

}  // namespace
}  // namespace usol::test
