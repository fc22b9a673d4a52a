#include "usol/ops/nms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/pairwise_iou.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

Tensor boxes_of(const Tensor& corner, const Tensor& size, DType dtype) {
  return concat({corner.to(dtype), add(corner.to(dtype), size.to(dtype))}, 1);
}

// 1 for boxes that stay, 0 for the others: an output of fixed size.
Tensor flags(const Tensor& kept, std::int64_t n, DType dtype) {
  Tensor out = Tensor::zeros({n}, dtype);
  for (const std::int64_t i : kept.to_vector<std::int64_t>()) out.select(0, i).fill(1);
  return out.to(kept.device());
}

// The definition, recursively: a box stays if no better one that stays overlaps it too much. Integers: no rounding.
bool stays(const Tensor& iou, const Tensor& scores, const Tensor& groups, std::int64_t i) {
  for (std::int64_t j = 0; j < scores.size(0); ++j) {
    const double mine = at(scores, {i}), other = at(scores, {j});
    const bool better = other > mine || (other == mine && j < i);
    if (better && at(groups, {i}) == at(groups, {j}) && at(iou, {i, j}) > 0.3 && stays(iou, scores, groups, j))
      return false;
  }
  return true;
}

OP_TEST({.name = "batched_nms",
         .op =
             [](const Tensors& in) {
               const Tensor boxes = boxes_of(in[0], in[1], in[4].dtype());
               return flags(batched_nms(boxes, in[2].to(in[4].dtype()), in[3], 0.3), boxes.size(0), in[4].dtype());
             },
         .reference =
             [](const Tensors& in) {
               const Tensor boxes = boxes_of(in[0], in[1], DType::kF64);
               const Tensor iou = pairwise_iou(boxes, boxes);
               return build({boxes.size(0)}, [&](const Shape& i) { return stays(iou, in[2], in[3], i[0]) ? 1 : 0; });
             },
         .inputs = {{{45, 2}, 0, 30, DType::kI32},
                    {{45, 2}, 0, 30, DType::kI32},
                    {{45}, 0, 12, DType::kI32},  // with ties
                    {{45}, 0, 2, DType::kI64},
                    {{1}}},
         .cuda_dtypes = {DType::kF32, DType::kF64},
         .gradient = false,
         .strided = false,
         .bench_inputs = {{{4000, 2}, 0, 1200, DType::kI32},
                          {{4000, 2}, 1, 200, DType::kI32},
                          {{4000}, 0, 1 << 30, DType::kI32},
                          {{4000}, 0, 1, DType::kI64},
                          {{1}}}});

TEST(Nms, EqualsTorchvision) {
  const auto golden = load_golden("detection_ops.safetensors");
  const Tensor &boxes = golden.at("nms_boxes"), &scores = golden.at("nms_scores");
  for (const double t : {0.3, 0.5, 0.65})
    EXPECT_EQ(nms(boxes, scores, t).to_vector<std::int64_t>(),
              golden.at("nms_" + std::to_string(t).substr(0, t == 0.65 ? 4 : 3)).to_vector<std::int64_t>())
        << t;
  EXPECT_EQ(batched_nms(boxes, scores, golden.at("nms_groups"), 0.5).to_vector<std::int64_t>(),
            golden.at("nms_batched_0.5").to_vector<std::int64_t>());
}

TEST(Nms, EqualScoresByIndexAndNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor boxes = Tensor::from<float>({0, 0, 4, 4, 0, 0, 4, 4, 9, 9, 12, 12, 0, 0, nan, 4, 5, 5, 5, 5}, {5, 4});
  const Tensor scores = Tensor::from<float>({0.5f, 0.5f, 0.5f, 0.5f, 0.75f}, {5});
  EXPECT_EQ(nms(boxes, scores, 0.5).to_vector<std::int64_t>(), (std::vector<std::int64_t>{4, 0, 2, 3}));
  // An IoU equal to the threshold suppresses nothing.
  const Tensor halves = Tensor::from<float>({0, 0, 4, 4, 0, 0, 4, 2}, {2, 4});
  EXPECT_EQ(nms(halves, Tensor::from<float>({2, 1}, {2}), 0.5).numel(), 2);
}

TEST(Nms, NoBoxesAndErrors) {
  EXPECT_EQ(nms(Tensor::zeros({0, 4}), Tensor::zeros({0}), 0.5).shape(), (Shape{0}));
  EXPECT_THROW(nms(Tensor::zeros({2, 5}), Tensor::zeros({2}), 0.5), Error);
  EXPECT_THROW(nms(Tensor::zeros({2, 4}), Tensor::zeros({3}), 0.5), Error);
  EXPECT_THROW(nms(Tensor::zeros({2, 4}), Tensor::zeros({2}, DType::kF64), 0.5), Error);
  EXPECT_THROW(nms(Tensor::zeros({2, 4}, DType::kF16), Tensor::zeros({2}, DType::kF16), 0.5), Error);
  EXPECT_THROW(batched_nms(Tensor::zeros({2, 4}), Tensor::zeros({2}), Tensor::zeros({2}), 0.5), Error);
}

}  // namespace
}  // namespace usol::test
