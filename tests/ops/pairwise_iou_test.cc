#include "usol/ops/pairwise_iou.h"

#include <gtest/gtest.h>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Corners and sizes -> x0 y0 x1 y1.
Tensor boxes_of(const Tensor& corner, const Tensor& size) { return concat({corner, add(corner, size)}, 1); }

// A third way to count: pixels of boxes with integer corners inside one, the other, and both.
Tensor counted(const Tensor& a, const Tensor& b) {
  const auto inside = [](const Tensor& boxes, std::int64_t i, double x, double y) {
    return x > at(boxes, {i, 0}) && x < at(boxes, {i, 2}) && y > at(boxes, {i, 1}) && y < at(boxes, {i, 3});
  };
  return build({a.size(0), b.size(0)}, [&](const Shape& i) {
    double both = 0, either = 0;
    for (double y = 0.5; y < 20; ++y)
      for (double x = 0.5; x < 20; ++x) {
        const bool p = inside(a, i[0], x, y), q = inside(b, i[1], x, y);
        both += p && q ? 1 : 0;
        either += p || q ? 1 : 0;
      }
    return both > 0 ? both / either : 0;
  });
}

// Integer corners and sizes (0 included: empty boxes) make the count exact.
OP_TEST({.name = "pairwise_iou",
         .op =
             [](const Tensors& in) {
               return pairwise_iou(boxes_of(in[0].to(DType::kF32), in[1].to(DType::kF32)),
                                   boxes_of(in[2].to(DType::kF32), in[3].to(DType::kF32)));
             },
         .reference =
             [](const Tensors& in) {
               return counted(boxes_of(in[0].to(DType::kF64), in[1].to(DType::kF64)),
                              boxes_of(in[2].to(DType::kF64), in[3].to(DType::kF64)));
             },
         .inputs = {{{12, 2}, 0, 10, DType::kI32},
                    {{12, 2}, 0, 10, DType::kI32},
                    {{9, 2}, 0, 10, DType::kI32},
                    {{9, 2}, 0, 10, DType::kI32}},
         .dtypes = {DType::kF32},
         .cuda_dtypes = {DType::kF32},
         .gradient = false,
         .bench_inputs = {{{1000, 2}, 0, 800, DType::kI32},
                          {{1000, 2}, 1, 400, DType::kI32},
                          {{200000, 2}, 0, 800, DType::kI32},
                          {{200000, 2}, 1, 400, DType::kI32}}});

TEST(PairwiseIou, KnownPairs) {
  const Tensor a = Tensor::from<double>({0, 0, 2, 2, 5, 5, 5, 9}, {2, 4});
  const Tensor b = Tensor::from<double>({1, 1, 3, 3, 0, 0, 2, 2, 2, 0, 4, 2, 5, 5, 5, 9}, {4, 4});
  // One pixel of seven; itself; an edge in common; an empty box with itself.
  EXPECT_EQ(pairwise_iou(a, b).to_vector<double>(), (std::vector<double>{1.0 / 7, 1, 0, 0, 0, 0, 0, 0}));
}

TEST(PairwiseIou, NoBoxesAndErrors) {
  EXPECT_EQ(pairwise_iou(Tensor::zeros({0, 4}), Tensor::zeros({3, 4})).shape(), (Shape{0, 3}));
  EXPECT_EQ(pairwise_iou(Tensor::zeros({2, 4}), Tensor::zeros({0, 4})).shape(), (Shape{2, 0}));
  EXPECT_THROW(pairwise_iou(Tensor::zeros({2, 5}), Tensor::zeros({3, 4})), Error);
  EXPECT_THROW(pairwise_iou(Tensor::zeros({2, 4}), Tensor::zeros({3, 4}, DType::kF64)), Error);
  EXPECT_THROW(pairwise_iou(Tensor::zeros({2, 4}, DType::kI64), Tensor::zeros({3, 4}, DType::kI64)), Error);
}

}  // namespace
}  // namespace usol::test
