#include "usol/ops/layer_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

OP_TEST({.name = "layer_norm",
         .op = [](const Tensors& in) { return layer_norm(in[0], in[1], in[2], 1e-6); },
         .reference =
             [](const Tensors& in) {
               const Tensor& x = in[0];
               const auto columns = static_cast<double>(x.size(2));
               return build(x.shape(), [&](const Shape& i) {
                 double mean = 0, variance = 0;
                 for (std::int64_t c = 0; c < x.size(2); ++c) mean += at(x, {i[0], i[1], c}) / columns;
                 for (std::int64_t c = 0; c < x.size(2); ++c)
                   variance += std::pow(at(x, {i[0], i[1], c}) - mean, 2) / columns;
                 return (at(x, i) - mean) / std::sqrt(variance + 1e-6) * at(in[1], {i[2]}) + at(in[2], {i[2]});
               });
             },
         .inputs = {{{2, 3, 37}, -2, 3}, {{37}}, {{37}}},
         .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
         .reduction = 74,
         .bench_inputs = {{{1, 3601, 768}}, {{768}}, {{768}}}});

TEST(LayerNorm, Errors) {
  EXPECT_THROW(layer_norm(Tensor::zeros({2, 3}), Tensor::zeros({4}), Tensor::zeros({4})), Error);
  EXPECT_THROW(layer_norm(Tensor::zeros({2, 0}), Tensor::zeros({0}), Tensor::zeros({0})), Error);
}

// PyTorch's epsilon, seen where the variance is as small: 1 / sqrt(1 + 1).
TEST(LayerNorm, TheDefaultEpsilonIsPyTorchs) {
  const double spread = std::sqrt(1e-5);
  const Tensor x = Tensor::from<double>({spread, -spread}, {1, 2});
  const Tensor y = layer_norm(x, Tensor::full({2}, 1, DType::kF64), Tensor::zeros({2}, DType::kF64));
  EXPECT_NEAR(y.to_vector<double>()[0], std::sqrt(0.5), 1e-12);
}

TEST(LayerNorm, NoRows) {
  EXPECT_EQ(layer_norm(Tensor::zeros({0, 3}), Tensor::zeros({3}), Tensor::zeros({3})).shape(), (Shape{0, 3}));
}

}  // namespace
}  // namespace usol::test
