// The fast convolution of inference and its gradients against the plain ones in f64: edges, paddings, batches, what is
// fused.
#include "usol/ops/conv2d_winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

struct Case {
  std::int64_t n, in, out, height, width, padding;
  bool bias, accumulate, relu;
};

Tensor values(const Shape& shape, double low, double high) {
  return test::make_inputs({{shape, low, high}}, DType::kF32, Device{})[0];
}

TEST(Winograd, EqualsThePlainConvolution) {
  const NoGrad no_grad;
  const GemmBackend backend = gemm_backend();
  const std::vector<Case> cases{{1, 64, 64, 23, 40, 1, true, false, true},
                                {1, 80, 64, 25, 21, 1, false, false, false},  // one pixel more than whole tiles
                                {3, 64, 96, 14, 14, 1, true, true, true},
                                {2, 64, 64, 26, 20, 0, true, true, false},
                                {1, 64, 64, 18, 30, 2, true, false, false}};
  for (const Case& c : cases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1), bias = c.bias ? values({c.out}, -1, 1) : Tensor();
    Conv2dOptions options;
    options.padding = {c.padding, c.padding};
    options.relu = c.relu;
    const auto wide = [](const Tensor& t) { return t.defined() ? t.to(DType::kF64) : t; };
    const Shape shape{c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2};
    const Tensor before = to_channels_last(values(shape, -9, 9));
    Tensor expected = to_channels_last(before.contiguous().to(DType::kF64));
    if (!c.accumulate) expected.fill(0);
    conv2d_add_into(expected, wide(x), wide(weight), wide(bias), options);
    ASSERT_TRUE(winograd_fits(x, weight, options, before));
    for (const GemmBackend with : {GemmBackend::kEigen, GemmBackend::kOneDnn}) {
      if (!has_backend(with)) continue;
      set_gemm_backend(with);
      Tensor y = to_channels_last(before.contiguous());
      ASSERT_TRUE(is_channels_last(y));
      if (c.accumulate)
        conv2d_add_into(y, x, weight, bias, options);
      else
        y = conv2d(x, weight, bias, options);
      EXPECT_LE(test::relative_error(y.to(DType::kF64), expected), 5e-6) << c.height << " x " << c.width;
      EXPECT_GT(test::relative_error(y.to(DType::kF64), expected), 0) << "the plain sums, or nothing was computed";
    }
    set_gemm_backend(backend);
  }
}

TEST(Winograd, ANewWeightIsTransformedAnew) {
  const NoGrad no_grad;
  const Tensor x = values({1, 64, 24, 24}, -1, 1);
  Tensor weight = values({64, 64, 3, 3}, -1, 1);
  const Tensor first = conv2d(x, weight);
  weight.fill(0);
  EXPECT_EQ(test::relative_error(conv2d(x, weight), first), 1);
  const auto bits = [&] { return conv2d(x, values({64, 64, 3, 3}, -1, 1)).to_vector<float>(); };
  EXPECT_EQ(bits(), bits());
}

TEST(Winograd, LeavesOtherConvolutionsAlone) {
  const Tensor x = Tensor::zeros({1, 64, 32, 32}), weight = Tensor::zeros({64, 64, 3, 3});
  const auto fits = [&](const Tensor& map, const Tensor& kernel, const Conv2dOptions& options) {
    return winograd_fits(map, kernel, options, map);
  };
  EXPECT_TRUE(fits(x, weight, {}));
  EXPECT_FALSE(fits(x, weight, {.stride = {2, 2}}));
  EXPECT_FALSE(fits(x, weight, {.dilation = {2, 2}}));
  EXPECT_FALSE(fits(x, Tensor::zeros({64, 32, 3, 3}), {.groups = 2}));
  EXPECT_FALSE(fits(x, Tensor::zeros({64, 64, 1, 1}), {}));
  EXPECT_FALSE(fits(x, Tensor::zeros({64, 72, 3, 3}), {}));
  EXPECT_FALSE(fits(Tensor::zeros({1, 64, 8, 8}), weight, {}));
  EXPECT_FALSE(fits(x.to(DType::kF64), weight.to(DType::kF64), {}));
}

// Gradients of a convolution as training makes them, and plain ones in f64.
struct Gradients {
  Tensor of_x, of_weight;
};
Gradients gradients(const Tensor& x, const Tensor& weight, const Tensor& seed, const Conv2dOptions& options) {
  Tensor map = x.detach(), kernels = weight.detach();
  set_requires_grad(map);
  set_requires_grad(kernels);
  backward(conv2d(map, kernels, {}, options), seed);
  return {grad(map), grad(kernels)};
}

struct GradCase {
  std::int64_t n, in, out, height, width, padding;
};
const std::vector<GradCase> kGradCases{{1, 64, 80, 35, 41, 1},   // one to three pixels less than whole tiles
                                       {2, 96, 64, 21, 33, 0},   // one pixel more
                                       {5, 64, 64, 14, 14, 1},   // regions
                                       {1, 80, 64, 30, 37, 2},   // a padding as wide as the kernel allows
                                       {2, 64, 64, 61, 90, 1}};  // more tiles than are at work at once

TEST(WinogradGradients, EqualThePlainOnes) {
  const GemmBackend backend = gemm_backend();
  for (const GradCase& c : kGradCases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1);
    const Conv2dOptions options{.padding = {c.padding, c.padding}};
    const Tensor seed = values({c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2}, -1, 1);
    ASSERT_TRUE(winograd_grad_fits(x, weight, seed, options));
    const auto wide = [](const Tensor& t) { return t.to(DType::kF64); };
    const Gradients expected = gradients(wide(x), wide(weight), wide(seed), options);
    for (const GemmBackend with : {GemmBackend::kEigen, GemmBackend::kOneDnn}) {
      if (!has_backend(with)) continue;
      set_gemm_backend(with);
      const Gradients got = gradients(x, weight, seed, options);
      const double of_x = test::relative_error(wide(got.of_x), expected.of_x);
      const double of_weight = test::relative_error(wide(got.of_weight), expected.of_weight);
      EXPECT_LE(of_x, 5e-6) << c.height << " x " << c.width;
      EXPECT_LE(of_weight, 5e-6) << c.height << " x " << c.width;
      EXPECT_GT(std::min(of_x, of_weight), 0) << "nothing was computed";
    }
    set_gemm_backend(backend);
  }
}

TEST(WinogradGradients, AreTheSameBitsWithAnyNumberOfThreads) {
  for (const GradCase& c : kGradCases) {
    const Tensor x = to_channels_last(values({c.n, c.in, c.height, c.width}, -1, 1));
    const Tensor weight = values({c.out, c.in, 3, 3}, -1, 1);
    const Tensor seed = values({c.n, c.out, c.height + 2 * c.padding - 2, c.width + 2 * c.padding - 2}, -1, 1);
    std::vector<std::vector<float>> of_x, of_weight;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const Gradients got = gradients(x, weight, seed, {.padding = {c.padding, c.padding}});
      of_x.push_back(got.of_x.to_vector<float>());
      of_weight.push_back(got.of_weight.to_vector<float>());
    }
    set_thread_count(0);
    for (std::size_t i = 1; i < of_x.size(); ++i) {
      EXPECT_EQ(of_x[i], of_x[0]) << c.height << " x " << c.width;
      EXPECT_EQ(of_weight[i], of_weight[0]) << c.height << " x " << c.width;
    }
  }
}

TEST(WinogradGradients, TheForwardPassOfTrainingKeepsPlainSums) {
  const Tensor x = to_channels_last(values({1, 64, 40, 40}, -1, 1));
  Tensor weight = values({64, 64, 3, 3}, -1, 1);
  set_requires_grad(weight);
  const Tensor plain = conv2d(x, weight);
  const NoGrad no_grad;
  EXPECT_NE(conv2d(x, weight).to_vector<float>(), plain.to_vector<float>());
}

TEST(WinogradGradients, LeaveOtherConvolutionsAlone) {
  const Tensor x = Tensor::zeros({1, 64, 32, 32}), weight = Tensor::zeros({64, 64, 3, 3});
  EXPECT_TRUE(winograd_grad_fits(x, weight, x, {.padding = {1, 1}}));
  EXPECT_TRUE(winograd_grad_fits(x, weight, Tensor::zeros({1, 64, 34, 34}), {.padding = {2, 2}}));
  EXPECT_FALSE(winograd_grad_fits(x, weight, Tensor::zeros({1, 64, 36, 34}), {.padding = {3, 2}}));
  EXPECT_FALSE(winograd_grad_fits(x, weight, Tensor::zeros({1, 64, 16, 16}), {.stride = {2, 2}, .padding = {1, 1}}));
  const Tensor small = Tensor::zeros({1, 64, 28, 32});  // 56 tiles
  EXPECT_TRUE(winograd_fits(small, weight, {.padding = {1, 1}}, small));
  EXPECT_FALSE(winograd_grad_fits(small, weight, small, {.padding = {1, 1}}));
}

// A transposed convolution has the data gradient's kernel for its result, which keeps plain sums where it has a bias.
TEST(WinogradGradients, AreNotWhatATransposedConvolutionIsMadeOf) {
  const Tensor x = to_channels_last(values({1, 64, 40, 40}, -1, 1)), weight = values({64, 64, 3, 3}, -1, 1);
  Tensor with_bias = empty_channels_last(x.shape(), DType::kF32, {});
  Tensor without = empty_channels_last(x.shape(), DType::kF32, {});
  conv2d_grad_input_kernel({}, x, weight, Tensor::zeros({64}), {.padding = {1, 1}}, with_bias);
  conv2d_grad_input_kernel({}, x, weight, {}, {.padding = {1, 1}}, without);
  EXPECT_NE(with_bias.to_vector<float>(), without.to_vector<float>());
  EXPECT_LE(test::relative_error(without, with_bias), 5e-6);
}

}  // namespace
}  // namespace usol
