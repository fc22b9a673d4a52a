// The mask head's transposed convolution in bf16 against the plain one in f64. Where the CPU has no AVX512-BF16, with
// the arithmetic that it is held to.
#include "usol/ops/conv2d_grad_input_bf16.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/ops/conv_transpose2d.h"
#include "usol/ops/onednn.h"
#include "usol/tensor/layout.h"

namespace usol {
namespace {

struct Case {
  std::int64_t n, in, out, height, width, kernel_h, kernel_w;
  bool bias, relu;
};

const Bf16Products& products() { return avx512_bf16_products() ? *avx512_bf16_products() : *emulated_bf16_products(); }

Tensor values(const Shape& shape) {
  return test::make_inputs({{shape, -1, 1}}, DType::kF32, Device{})[0].to(DType::kBF16);
}
Tensor wide(const Tensor& t) { return t.defined() ? t.to(DType::kF64) : t; }
Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, DType::kBF16); }

TEST(GradInputBf16, EqualsThePlainOne) {
  const NoGrad no_grad;
  const std::vector<Case> cases{
      {2, 64, 80, 7, 5, 2, 2, true, true}, {1, 32, 16, 4, 9, 2, 3, true, false}, {3, 18, 5, 3, 2, 3, 1, false, true}};
  for (const Case& c : cases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}));
    const Tensor weight = values({c.in, c.out, c.kernel_h, c.kernel_w}), bias = c.bias ? values({c.out}) : Tensor();
    const Conv2dOptions options{.stride = {c.kernel_h, c.kernel_w}, .relu = c.relu};
    Tensor y = empty_channels_last({c.n, c.out, c.height * c.kernel_h, c.width * c.kernel_w}, DType::kBF16, Device{});
    ASSERT_TRUE(grad_input_bf16_fits(x, weight, options, y));
    conv2d_grad_input_bf16(products(), x, weight, bias, options, y);
    const Tensor expected =
        conv_transpose2d(wide(x), wide(weight), wide(bias), {.stride = options.stride, .relu = c.relu});
    EXPECT_LE(test::relative_error(wide(y), expected), 4e-3) << c.kernel_h << " x " << c.kernel_w;  // of the rounding
  }
}

TEST(GradInputBf16, IsWhatInferenceTakes) {
  if (!bf16_products() || onednn_multiplies_bf16_faster()) GTEST_SKIP() << "this CPU has no AVX512-BF16, or better";
  const Tensor x = to_channels_last(values({1, 64, 6, 6})), bias = values({32});
  Tensor weight = values({64, 32, 2, 2}), direct = to_channels_last(zeros({1, 32, 12, 12}));
  const auto numbers = [](const Tensor& t) { return t.to(DType::kF32).contiguous().to_vector<float>(); };
  const auto taken = [&] { return numbers(conv_transpose2d(x, weight, bias, {.stride = {2, 2}, .relu = true})); };
  conv2d_grad_input_bf16(products(), x, weight, bias, {.stride = {2, 2}, .relu = true}, direct);
  const std::vector<float> plain = taken();
  EXPECT_NE(plain, numbers(direct)) << "training rounds before the bias is added";
  const NoGrad no_grad;
  EXPECT_EQ(taken(), numbers(direct));
  weight.fill(0);  // a new weight is reordered anew
  EXPECT_NE(taken(), numbers(direct));
}

TEST(GradInputBf16, LeavesOthersAlone) {
  const Tensor x = zeros({1, 64, 6, 6}), weight = zeros({64, 32, 2, 2}), y = zeros({1, 32, 12, 12});
  EXPECT_TRUE(grad_input_bf16_fits(x, weight, {.stride = {2, 2}}, y));
  EXPECT_FALSE(grad_input_bf16_fits(x, zeros({64, 32, 3, 3}), {.stride = {2, 2}}, zeros({1, 32, 13, 13})));
  EXPECT_FALSE(grad_input_bf16_fits(x, weight, {.stride = {2, 2}, .padding = {1, 1}}, zeros({1, 32, 10, 10})));
  EXPECT_FALSE(grad_input_bf16_fits(x, weight, {.stride = {2, 2}}, zeros({1, 32, 13, 13})));  // padded
  EXPECT_FALSE(grad_input_bf16_fits(x, weight, {.stride = {2, 2}, .dilation = {2, 2}}, y));
  EXPECT_FALSE(grad_input_bf16_fits(x, weight, {.stride = {2, 2}, .groups = 2}, y));
  EXPECT_FALSE(grad_input_bf16_fits(x, zeros({64, 32, 1, 1}), {}, zeros({1, 32, 6, 6})));
  EXPECT_FALSE(grad_input_bf16_fits(zeros({1, 63, 6, 6}), zeros({63, 32, 2, 2}), {.stride = {2, 2}}, y));
  EXPECT_FALSE(grad_input_bf16_fits(x.to(DType::kF32), weight.to(DType::kF32), {.stride = {2, 2}}, y));
}

}  // namespace
}  // namespace usol
