#include "usol/ops/paste_masks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Masks of 0 and 1 over boxes whose cells are 4 x 4 pixels: at a pixel's centre the weights are odd eighths, so no sum
// lies near a threshold of 0.51, and a pixel's value is that of a tent over each cell.
OP_TEST(
    {.name = "paste_masks",
     .op =
         [](const Tensors& in) {
           const Tensor low = affine(in[1].to(DType::kF32), 4);
           const Tensor pasted = paste_masks(in[0].to(DType::kF32), concat({low, affine(low, 1, 20)}, 1), 34, 41, 0.51);
           return pasted.to(in[2].dtype());
         },
     .reference =
         [](const Tensors& in) {
           return build({in[0].size(0), 34, 41}, [&](const Shape& i) {
             const double y = (static_cast<double>(i[1]) + 0.5) / 4 - at(in[1], {i[0], 1}) - 0.5;
             const double x = (static_cast<double>(i[2]) + 0.5) / 4 - at(in[1], {i[0], 0}) - 0.5;
             double sum = 0;
             for (std::int64_t a = 0; a < 5; ++a)
               for (std::int64_t b = 0; b < 5; ++b)
                 sum += at(in[0], {i[0], a, b}) * std::max(0.0, 1 - std::abs(y - static_cast<double>(a))) *
                        std::max(0.0, 1 - std::abs(x - static_cast<double>(b)));
             return sum >= 0.51 ? 1 : 0;
           });
         },
     .inputs = {{{6, 5, 5}, 0, 2, DType::kI32}, {{6, 2}, -3, 9, DType::kI32}, {{1}}},
     .dtypes = {DType::kF32},
     .cuda_dtypes = {DType::kF32},
     .gradient = false});

TEST(PasteMasks, EqualsDetectron2) {
  const auto golden = load_golden("detection_ops.safetensors");
  const Tensor &masks = golden.at("paste_masks"), &boxes = golden.at("paste_boxes");
  EXPECT_EQ(paste_masks(masks, boxes, 60, 80).to_vector<std::uint8_t>(), golden.at("pasted").to_vector<std::uint8_t>());
  EXPECT_EQ(paste_masks(masks, boxes, 60, 80, 0.3).to_vector<std::uint8_t>(),
            golden.at("pasted_0.3").to_vector<std::uint8_t>());
}

TEST(PasteMasks, BoxesThatAreNone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor boxes = Tensor::from<float>({3, 3, 3, 8, 8, 8, 2, 2, nan, 0, 5, 5, -1e30f, 0, 1e30f, 9}, {4, 4});
  const auto pixels = paste_masks(Tensor::zeros({4, 28, 28}), boxes, 10, 10).to_vector<std::uint8_t>();
  EXPECT_EQ(std::count(pixels.begin(), pixels.end(), 0), 400);
  EXPECT_EQ(paste_masks(Tensor::zeros({0, 28, 28}), Tensor::zeros({0, 4}), 5, 6).shape(), (Shape{0, 5, 6}));
}

TEST(PasteMasks, Errors) {
  EXPECT_THROW(paste_masks(Tensor::zeros({2, 28, 27}), Tensor::zeros({2, 4}), 5, 5), Error);
  EXPECT_THROW(paste_masks(Tensor::zeros({2, 28, 28}), Tensor::zeros({3, 4}), 5, 5), Error);
  EXPECT_THROW(paste_masks(Tensor::zeros({2, 28, 28}), Tensor::zeros({2, 4}), 0, 5), Error);
  EXPECT_THROW(paste_masks(Tensor::zeros({2, 28, 28}, DType::kF64), Tensor::zeros({2, 4}), 5, 5), Error);
}

}  // namespace
}  // namespace usol::test
