#include "usol/ops/conv_transpose2d.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

// Every element of x is spread over the map: the definition.
Tensor naive(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvTranspose2dOptions& o) {
  const std::int64_t group_c = x.size(1) / o.groups, group_o = weight.size(1), channels = group_o * o.groups;
  const auto size = [&](int a) {
    const auto i = static_cast<std::size_t>(a);
    return (x.size(2 + a) - 1) * o.stride[i] - 2 * o.padding[i] + o.dilation[i] * (weight.size(2 + a) - 1) +
           o.output_padding[i] + 1;
  };
  Tensor y = build({x.size(0), channels, size(0), size(1)}, [&](const Shape& i) { return at(bias, {i[1]}); });
  double* const to = y.mutable_data<double>();
  build({x.size(0), x.size(1), x.size(2), x.size(3), group_o, weight.size(2), weight.size(3)}, [&](const Shape& i) {
    const std::int64_t h = i[2] * o.stride[0] - o.padding[0] + i[5] * o.dilation[0];
    const std::int64_t w = i[3] * o.stride[1] - o.padding[1] + i[6] * o.dilation[1];
    if (h >= 0 && h < y.size(2) && w >= 0 && w < y.size(3)) {
      const std::int64_t c = i[1] / group_c * group_o + i[4];
      to[((i[0] * channels + c) * y.size(2) + h) * y.size(3) + w] +=
          at(x, {i[0], i[1], i[2], i[3]}) * at(weight, {i[1], i[4], i[5], i[6]});
    }
    return 0.0;
  });
  return o.relu ? map(y, [](double v) { return std::max(v, 0.0); }) : y;
}

OpCase transpose_case(const char* name, const ConvTranspose2dOptions& options, const Shape& x, const Shape& weight) {
  return {.name = name,
          .op = [options](const Tensors& in) { return conv_transpose2d(in[0], in[1], in[2], options); },
          .reference = [options](const Tensors& in) { return naive(in[0], in[1], in[2], options); },
          .inputs = {{x}, {weight}, {{weight[1] * options.groups}}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = weight[0] * weight[2] * weight[3] + 1,
          .both_backends = true};
}

OpCase mask_head() {
  OpCase op_case =
      transpose_case("conv_transpose2d_2x2_relu", {.stride = {2, 2}, .relu = true}, {2, 3, 4, 5}, {3, 4, 2, 2});
  op_case.bench_inputs = {{{100, 256, 14, 14}}, {{256, 256, 2, 2}, -0.1, 0.1}, {{256}}};
  op_case.bench_flop = 2.0 * 100 * 14 * 14 * 256 * 256 * 4;
  return op_case;
}

OP_TEST(mask_head());
OP_TEST(transpose_case("conv_transpose2d_general",
                       {.stride = {2, 3}, .padding = {1, 2}, .output_padding = {1, 0}, .dilation = {1, 2}, .groups = 2},
                       {2, 4, 3, 4}, {4, 3, 3, 2}));

TEST(ConvTranspose2d, EqualsPyTorch) {
  const auto golden = load_golden("conv2d.safetensors");
  Tensor x = golden.at("transposed.x"), weight = golden.at("transposed.weight"), bias = golden.at("transposed.bias");
  for (Tensor* t : {&x, &weight, &bias}) set_requires_grad(*t);
  const Tensor y = conv_transpose2d(
      x, weight, bias,
      {.stride = {3, 2}, .padding = {1, 0}, .output_padding = {2, 1}, .dilation = {2, 1}, .groups = 2, .relu = true});
  EXPECT_LE(relative_error(y, golden.at("transposed.y")), 2e-6);
  backward(y, golden.at("transposed.seed"));
  EXPECT_LE(relative_error(grad(x), golden.at("transposed.grad_x")), 5e-6);
  EXPECT_LE(relative_error(grad(weight), golden.at("transposed.grad_weight")), 5e-6);
  EXPECT_LE(relative_error(grad(bias), golden.at("transposed.grad_bias")), 5e-6);
}

TEST(ConvTranspose2d, NoMaps) {
  Tensor weight = Tensor::zeros({3, 4, 2, 2});
  set_requires_grad(weight);
  const Tensor y = conv_transpose2d(Tensor::zeros({0, 3, 14, 14}), weight, {}, {.stride = {2, 2}});
  EXPECT_EQ(y.shape(), (Shape{0, 4, 28, 28}));
  backward(y, Tensor::zeros(y.shape()));
  EXPECT_EQ(grad(weight).shape(), weight.shape());
}

TEST(ConvTranspose2d, Errors) {
  const Tensor x = Tensor::zeros({1, 4, 5, 5}), weight = Tensor::zeros({4, 6, 2, 2});
  EXPECT_THROW(conv_transpose2d(x, Tensor::zeros({3, 6, 2, 2})), Error);
  EXPECT_THROW(conv_transpose2d(x, weight, Tensor::zeros({4})), Error);
  EXPECT_THROW(conv_transpose2d(x, weight, {}, {.output_padding = {1, 0}}), Error);
  EXPECT_THROW(conv_transpose2d(x, weight, {}, {.padding = {3, 3}}), Error);
  EXPECT_THROW(conv_transpose2d(x, weight, {}, {.groups = 3}), Error);
}

}  // namespace
}  // namespace usol::test
