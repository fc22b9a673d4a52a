// The fast bf16 convolution and its gradients against the plain ones in f64: edges, paddings, batches, what is fused.
// Where the CPU has no AVX512-BF16, with the arithmetic that it is held to.
#include "usol/ops/conv2d_winograd_bf16.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/onednn.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

struct Case {
  std::int64_t n, in, out, height, width, padding;
  bool bias, accumulate, relu;
};

const Bf16Products& products() { return avx512_bf16_products() ? *avx512_bf16_products() : *emulated_bf16_products(); }

Tensor values(const Shape& shape, double low, double high) {
  return test::make_inputs({{shape, low, high}}, DType::kF32, Device{})[0].to(DType::kBF16);
}

Tensor wide(const Tensor& t) { return t.defined() ? t.to(DType::kF64) : t; }

TEST(WinogradBf16, EqualsThePlainConvolution) {
  const NoGrad no_grad;
  const std::vector<Case> cases{
      {1, 128, 128, 15, 20, 1, true, false, true},  {1, 144, 128, 17, 18, 1, false, false, false},
      {3, 128, 192, 14, 14, 1, true, true, true},   {2, 128, 128, 18, 13, 0, true, true, false},
      {1, 128, 128, 15, 19, 2, true, false, false}, {2, 256, 256, 14, 14, 1, true, false, false}};
  for (const Case& c : cases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1), bias = c.bias ? values({c.out}, -1, 1) : Tensor();
    Conv2dOptions options;
    options.padding = {c.padding, c.padding};
    options.relu = c.relu;
    const Shape shape{c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2};
    Tensor y = to_channels_last(values(shape, -9, 9)), expected = to_channels_last(wide(y.contiguous()));
    ASSERT_TRUE(winograd_bf16_fits(x, weight, options, y));
    if (!c.accumulate) expected.fill(0);
    conv2d_add_into(expected, wide(x), wide(weight), wide(bias), options);
    conv2d_winograd_bf16(products(), x, weight, bias, options, c.accumulate, y);
    EXPECT_LE(test::relative_error(wide(y), expected), 6e-3) << c.height << " x " << c.width;
  }
}

TEST(WinogradBf16, IsWhatInferenceAndTrainingTake) {
  if (!bf16_products() || onednn_multiplies_bf16_faster()) GTEST_SKIP() << "this CPU has no AVX512-BF16, or better";
  const Tensor x = to_channels_last(values({1, 128, 24, 24}, -1, 1));
  Tensor weight = values({128, 128, 3, 3}, -1, 1);
  Tensor direct = to_channels_last(Tensor::zeros({1, 128, 24, 24}, DType::kBF16));
  const Conv2dOptions options{.padding = {1, 1}};
  const auto fast = [&] {
    conv2d_winograd_bf16(products(), x, weight, {}, options, false, direct);
    return direct.to(DType::kF32).contiguous().to_vector<float>();
  };
  const auto taken = [&] { return conv2d(x, weight, {}, options).to(DType::kF32).contiguous().to_vector<float>(); };
  EXPECT_EQ(taken(), fast());
  const NoGrad no_grad;
  EXPECT_EQ(taken(), fast());
  weight.fill(0);  // a new weight is transformed anew
  EXPECT_EQ(taken(), std::vector<float>(128 * 24 * 24, 0));
}

struct GradCase {
  std::int64_t n, in, out, height, width, padding;
};
const std::vector<GradCase> kGradCases{{1, 128, 192, 17, 20, 1},   // a pixel more than whole tiles
                                       {2, 192, 128, 16, 13, 0},   // fewer results than pixels
                                       {5, 128, 128, 14, 14, 1},   // regions; an odd number of tiles
                                       {1, 128, 128, 15, 18, 2},   // a padding as wide as the kernel allows
                                       {1, 128, 128, 66, 63, 1}};  // more tiles than are at work at once

struct Gradients {
  Tensor of_x, of_weight;
};
Gradients by_kernels(const Tensor& x, const Tensor& weight, const Tensor& seed, const Conv2dOptions& options) {
  Gradients found{empty_channels_last(x.shape(), DType::kBF16, Device{}),
                  Tensor::full(weight.shape(), 99, DType::kBF16)};  // all of it is written
  conv2d_winograd_bf16_grad_input(products(), seed, weight, options, found.of_x);
  conv2d_winograd_bf16_grad_weight(products(), x, seed, options, found.of_weight);
  return found;
}

TEST(WinogradBf16Gradients, EqualThePlainOnes) {
  for (const GradCase& c : kGradCases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1);
    const Conv2dOptions options{.padding = {c.padding, c.padding}};
    const Tensor seed =
        to_channels_last(values({c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2}, -1, 1));
    ASSERT_TRUE(winograd_bf16_grad_fits(x, weight, seed, options));
    Tensor map = wide(x), kernels = wide(weight);
    set_requires_grad(map);
    set_requires_grad(kernels);
    backward(conv2d(map, kernels, {}, options), wide(seed));
    const Gradients found = by_kernels(x, weight, seed, options);
    EXPECT_LE(test::relative_error(wide(found.of_x), grad(map)), 6e-3) << c.height << " x " << c.width;
    EXPECT_LE(test::relative_error(wide(found.of_weight), grad(kernels)), 6e-3) << c.height << " x " << c.width;
  }
}

TEST(WinogradBf16Gradients, AreWhatTrainingTakes) {
  if (!bf16_products() || onednn_multiplies_bf16_faster()) GTEST_SKIP() << "this CPU has no AVX512-BF16, or better";
  Tensor x = to_channels_last(values({1, 128, 24, 24}, -1, 1)), weight = values({128, 128, 3, 3}, -1, 1);
  const Tensor seed = to_channels_last(values({1, 128, 24, 24}, -1, 1));
  const Conv2dOptions options{.padding = {1, 1}};
  const Gradients expected = by_kernels(x, weight, seed, options);
  set_requires_grad(x);
  set_requires_grad(weight);
  const auto numbers = [](const Tensor& t) { return t.to(DType::kF32).contiguous().to_vector<float>(); };
  backward(conv2d(x, weight, {}, options), seed);
  EXPECT_EQ(numbers(grad(x)), numbers(expected.of_x));
  EXPECT_EQ(numbers(grad(weight)), numbers(expected.of_weight));
}

// What a step makes of a weight, in place, is what the next one convolves with: nothing of the old one is left.
TEST(WinogradBf16Gradients, AChangedWeightIsTheOneThatCounts) {
  Tensor x = to_channels_last(values({1, 128, 24, 24}, -1, 1)), weight = values({128, 128, 3, 3}, -1, 1);
  Tensor seed = to_channels_last(values({1, 128, 24, 24}, -1, 1));
  set_requires_grad(x);
  set_requires_grad(weight);
  backward(conv2d(x, weight, {}, {.padding = {1, 1}}), seed);
  set_grad(x, {});
  weight.fill(0);
  const Tensor y = conv2d(x, weight, {}, {.padding = {1, 1}});
  EXPECT_EQ(test::relative_error(wide(y.detach()), Tensor::zeros(y.shape(), DType::kF64)), 0);
  backward(y, seed);
  EXPECT_EQ(test::relative_error(wide(grad(x)), Tensor::zeros(x.shape(), DType::kF64)), 0);
}

TEST(WinogradBf16Gradients, ThreadsDoNotChangeTheBits) {
  for (const GradCase& c : kGradCases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1);
    const Tensor seed =
        to_channels_last(values({c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2}, -1, 1));
    std::vector<std::vector<float>> of_x, of_weight;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const Gradients found = by_kernels(x, weight, seed, {.padding = {c.padding, c.padding}});
      of_x.push_back(found.of_x.to(DType::kF32).contiguous().to_vector<float>());
      of_weight.push_back(found.of_weight.to(DType::kF32).to_vector<float>());
    }
    set_thread_count(0);
    EXPECT_TRUE(of_x[0] == of_x[1] && of_x[0] == of_x[2]);
    EXPECT_TRUE(of_weight[0] == of_weight[1] && of_weight[0] == of_weight[2]);
  }
}

TEST(WinogradBf16, LeavesOtherConvolutionsAlone) {
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::kBF16); };
  const Tensor x = zeros({1, 128, 16, 16}), weight = zeros({128, 128, 3, 3});
  const auto fits = [&](const Tensor& map, const Tensor& kernel, const Conv2dOptions& options) {
    return winograd_bf16_fits(map, kernel, options, map);
  };
  EXPECT_TRUE(fits(x, weight, {}));
  EXPECT_TRUE(winograd_bf16_grad_fits(x, weight, x, {}));
  EXPECT_FALSE(winograd_bf16_grad_fits(x, weight, x, {.padding = {3, 3}}));
  EXPECT_FALSE(winograd_bf16_grad_fits(zeros({1, 144, 16, 16}), zeros({128, 144, 3, 3}), x, {}));
  EXPECT_FALSE(fits(x, weight, {.stride = {2, 2}}));
  EXPECT_FALSE(fits(x, weight, {.dilation = {2, 2}}));
  EXPECT_FALSE(fits(x, zeros({128, 64, 3, 3}), {.groups = 2}));
  EXPECT_FALSE(fits(x, zeros({128, 128, 1, 1}), {}));
  EXPECT_FALSE(fits(x, zeros({160, 128, 3, 3}), {}));
  EXPECT_FALSE(fits(zeros({1, 64, 16, 16}), zeros({64, 64, 3, 3}), {}));
  EXPECT_FALSE(fits(zeros({1, 128, 8, 8}), weight, {}));
  EXPECT_FALSE(fits(x.to(DType::kF32), weight.to(DType::kF32), {}));
}

}  // namespace
}  // namespace usol
