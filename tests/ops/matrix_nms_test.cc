#include "usol/ops/matrix_nms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr double kSigma = 2;

bool better(const Tensors& in, std::int64_t i, std::int64_t j) {
  const double mine = at(in[1], {i}), other = at(in[1], {j});
  return at(in[2], {i}) == at(in[2], {j}) && (mine > other || (mine == other && i < j));
}

// One mask at a time, straight from the definition: what is left of j's score beside each better mask i.
double decayed(const Tensors& in, std::int64_t j) {
  const std::int64_t n = in[1].size(0);
  double left = 1;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!better(in, i, j)) continue;
    double compensation = 0;
    for (std::int64_t k = 0; k < n; ++k)
      if (better(in, k, i)) compensation = std::max(compensation, at(in[0], {k, i}));
    left = std::min(left, std::exp(-kSigma * (std::pow(at(in[0], {i, j}), 2) - std::pow(compensation, 2))));
  }
  return at(in[1], {j}) * left;
}

OP_TEST({.name = "matrix_nms",
         .op =
             [](const Tensors& in) {
               return matrix_nms(in[0], affine(in[1].to(in[0].dtype()), 1.0 / 16), in[2], kSigma);
             },
         .reference =
             [](const Tensors& in) {
               const Tensors scaled{in[0], affine(in[1].to(DType::kF64), 1.0 / 16), in[2]};
               return build({in[1].size(0)}, [&](const Shape& i) { return decayed(scaled, i[0]); });
             },
         .inputs = {{{30, 30}, 0, 1}, {{30}, 1, 16, DType::kI32}, {{30}, 0, 3, DType::kI64}},  // with ties
         .cuda_dtypes = {DType::kF32, DType::kF64},
         .gradient = false,
         .bench_inputs = {{{500, 500}, 0, 1}, {{500}, 0, 1 << 20, DType::kI32}, {{500}, 0, 80, DType::kI64}}});

OP_TEST({.name = "pairwise_mask_iou",
         .op = [](const Tensors& in) { return pairwise_mask_iou(in[0]).to(in[1].dtype()); },
         .reference =
             [](const Tensors& in) {
               return build({7, 7}, [&](const Shape& at_) {
                 double both = 0, either = 0;
                 for (std::int64_t y = 0; y < 5; ++y)
                   for (std::int64_t x = 0; x < 6; ++x) {
                     const bool a = at(in[0], {at_[0], y, x}) > 0, b = at(in[0], {at_[1], y, x}) > 0;
                     both += a && b;
                     either += a || b;
                   }
                 return either > 0 ? both / either : 0;
               });
             },
         .inputs = {{{7, 5, 6}, 0, 3, DType::kU8}, {{1}}},
         .dtypes = {DType::kF32},
         .cuda_dtypes = {DType::kF32},
         .gradient = false});

// Three copies of one mask, and a fourth beside them. The second copy loses everything that exp(-2) allows; the third
// is compared with a copy that is itself overlapped, which takes nothing, and with the best, which does.
TEST(MatrixNms, CopiesLoseAndOthersDoNot) {
  const Tensor masks = Tensor::from<std::uint8_t>({1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1}, {4, 2, 2});
  const Tensor scores = Tensor::from<float>({0.5f, 0.75f, 0.5f, 0.25f}, {4});
  const Tensor iou = pairwise_mask_iou(masks);
  EXPECT_EQ(iou.to_vector<float>(), (std::vector<float>{1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1}));
  const Tensor one_class = Tensor::zeros({4}, DType::kI64);
  const std::vector<float> decayed = matrix_nms(iou, scores, one_class).to_vector<float>();
  const float lost = 0.5f * std::exp(-2.0f);
  EXPECT_FLOAT_EQ(decayed[0], lost);
  EXPECT_FLOAT_EQ(decayed[1], 0.75f);
  EXPECT_FLOAT_EQ(decayed[2], lost);
  EXPECT_FLOAT_EQ(decayed[3], 0.25f);
  const Tensor classes = Tensor::from<std::int64_t>({0, 1, 2, 3}, {4});
  EXPECT_EQ(matrix_nms(iou, scores, classes).to_vector<float>(), scores.to_vector<float>());
}

TEST(MatrixNms, NothingAndErrors) {
  EXPECT_EQ(matrix_nms(Tensor::zeros({0, 0}), Tensor::zeros({0}), Tensor::zeros({0}, DType::kI64)).numel(), 0);
  EXPECT_EQ(pairwise_mask_iou(Tensor::zeros({0, 4, 4}, DType::kBool)).shape(), (Shape{0, 0}));
  EXPECT_EQ(pairwise_mask_iou(Tensor::zeros({2, 4, 4}, DType::kBool)).to_vector<float>(), std::vector<float>(4, 0));
  EXPECT_THROW(pairwise_mask_iou(Tensor::zeros({3})), Error);
  EXPECT_THROW(matrix_nms(Tensor::zeros({2, 3}), Tensor::zeros({2}), Tensor::zeros({2}, DType::kI64)), Error);
  EXPECT_THROW(matrix_nms(Tensor::zeros({2, 2}), Tensor::zeros({3}), Tensor::zeros({2}, DType::kI64)), Error);
  EXPECT_THROW(matrix_nms(Tensor::zeros({2, 2}), Tensor::zeros({2}), Tensor::zeros({2})), Error);
  EXPECT_THROW(matrix_nms(Tensor::zeros({2, 2}), Tensor::zeros({2}, DType::kF64), Tensor::zeros({2}, DType::kI64)),
               Error);
}

}  // namespace
}  // namespace usol::test
