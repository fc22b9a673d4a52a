#include "usol/ops/conv2d.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gemm.h"
#include "usol/ops/onednn.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

const std::vector<DType> kAllDtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16};

// The sum of the definition, over the taps that lie inside the map.
Tensor naive_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o) {
  const std::int64_t group_c = weight.size(1), group_o = weight.size(0) / o.groups;
  return build({x.size(0), weight.size(0), conv2d_size(x.size(2), weight.size(2), o, 0),
                conv2d_size(x.size(3), weight.size(3), o, 1)},
               [&](const Shape& y) {
                 double total = at(bias, {y[1]});
                 for (std::int64_t c = 0; c < group_c; ++c)
                   for (std::int64_t i = 0; i < weight.size(2); ++i)
                     for (std::int64_t j = 0; j < weight.size(3); ++j) {
                       const std::int64_t h = y[2] * o.stride[0] + i * o.dilation[0] - o.padding[0];
                       const std::int64_t w = y[3] * o.stride[1] + j * o.dilation[1] - o.padding[1];
                       if (h < 0 || h >= x.size(2) || w < 0 || w >= x.size(3)) continue;
                       total += at(x, {y[0], y[1] / group_o * group_c + c, h, w}) * at(weight, {y[1], c, i, j});
                     }
                 return o.relu ? std::max(total, 0.0) : total;
               });
}

OpCase conv_case(const char* name, const Conv2dOptions& options, const Shape& x, const Shape& weight) {
  return {.name = name,
          .op = [options](const Tensors& in) { return conv2d(in[0], in[1], in[2], options); },
          .reference = [options](const Tensors& in) { return naive_conv2d(in[0], in[1], in[2], options); },
          .inputs = {{x}, {weight}, {{weight[0]}}},
          .dtypes = kAllDtypes,
          .reduction = weight[1] * weight[2] * weight[3] + 1,
          .both_backends = true};
}

OpCase timed(OpCase op_case, const Shape& x, const Shape& weight, std::int64_t pixels) {
  op_case.bench_inputs = {{x}, {weight, -0.1, 0.1}, {{weight[0]}}};
  op_case.bench_flop = 2.0 * static_cast<double>(weight.numel() * pixels);
  return op_case;
}

OP_TEST(timed(conv_case("conv2d_3x3", {.padding = {1, 1}}, {2, 3, 4, 5}, {4, 3, 3, 3}), {1, 256, 100, 152},
              {256, 256, 3, 3}, 100 * 152));
OP_TEST(timed(conv_case("conv2d_1x1_relu", {.relu = true}, {2, 5, 4, 3}, {6, 5, 1, 1}), {1, 256, 200, 304},
              {64, 256, 1, 1}, 200 * 304));
OP_TEST(timed(conv_case("conv2d_stem", {.stride = {2, 2}, .padding = {3, 3}, .relu = true}, {1, 2, 7, 8}, {3, 2, 7, 7}),
              {1, 3, 800, 1216}, {64, 3, 7, 7}, 400 * 608));
// The shortcut of a narrow residual block, whose weight gradient takes a way of its own.
OP_TEST(conv_case("conv2d_shortcut", {.stride = {2, 2}}, {1, 4, 16, 16}, {8, 4, 1, 1}));
OP_TEST(conv_case("conv2d_dilated", {.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 2}}, {2, 2, 7, 6},
                  {3, 2, 2, 3}));
OP_TEST(conv_case("conv2d_groups", {.stride = {1, 2}, .padding = {1, 0}, .groups = 3}, {1, 6, 4, 5}, {9, 2, 3, 2}));
OP_TEST(conv_case("conv2d_depthwise", {.padding = {1, 1}, .groups = 4}, {1, 4, 5, 4}, {4, 1, 3, 3}));

class Conv2dGolden : public testing::TestWithParam<std::tuple<const char*, Conv2dOptions>> {};

// Values and all gradients of sum(y * seed), on both CPU paths.
TEST_P(Conv2dGolden, EqualsPyTorch) {
  const std::string name = std::get<0>(GetParam());
  const auto& options = std::get<1>(GetParam());
  const auto golden = load_golden("conv2d.safetensors");
  const auto of = [&](const char* what) { return golden.at(name + "." + what); };
  for (const GemmBackend backend : {GemmBackend::kOneDnn, GemmBackend::kEigen}) {
    if (!has_backend(backend)) continue;
    set_gemm_backend(backend);
    Tensor x = of("x").clone(), weight = of("weight").clone(), bias = of("bias").clone();
    for (Tensor* t : {&x, &weight, &bias}) set_requires_grad(*t);
    const Tensor y = conv2d(x, weight, bias, options);
    EXPECT_TRUE(is_channels_last(y));
    EXPECT_LE(relative_error(y, of("y")), 2e-6);
    backward(y, of("seed"));
    EXPECT_LE(relative_error(grad(x), of("grad_x")), 5e-6);
    EXPECT_LE(relative_error(grad(weight), of("grad_weight")), 5e-6);
    EXPECT_LE(relative_error(grad(bias), of("grad_bias")), 5e-6);
  }
  set_gemm_backend(has_backend(GemmBackend::kOneDnn) ? GemmBackend::kOneDnn : GemmBackend::kEigen);
}

INSTANTIATE_TEST_SUITE_P(
    PyTorch, Conv2dGolden,
    testing::Values(std::tuple{"same", Conv2dOptions{.padding = {1, 1}}},
                    std::tuple{"stem", Conv2dOptions{.stride = {2, 2}, .padding = {3, 3}, .relu = true}},
                    std::tuple{"strided", Conv2dOptions{.stride = {2, 2}}},
                    std::tuple{"mixed",
                               Conv2dOptions{.stride = {2, 3}, .padding = {2, 1}, .dilation = {2, 1}, .groups = 2}}));

TEST(Conv2d, PackedWeightsFollowTheWeight) {
  const NoGrad no_grad;
  const Tensor x = Tensor::full({1, 16, 4, 4}, 1);
  Tensor weight = Tensor::full({16, 16, 3, 3}, 1);
  EXPECT_EQ(conv2d(x, weight).to_vector<float>()[0], 144);
  weight.fill(2);
  EXPECT_EQ(conv2d(x, weight).to_vector<float>()[0], 288);
  weight = Tensor::full({16, 16, 3, 3}, 3);
  EXPECT_EQ(conv2d(x, weight).to_vector<float>()[0], 432);
}

TEST(Conv2d, AddsInPlace) {
  const NoGrad no_grad;
  const Tensor x = Tensor::from<float>({1, -1, 2, -2}, {1, 1, 2, 2}), weight = Tensor::full({1, 1, 1, 1}, 2);
  for (const bool relu : {false, true}) {
    Tensor y = to_channels_last(Tensor::full({1, 1, 2, 2}, 1));
    conv2d_add_into(y, x, weight, Tensor::full({1}, 0.5), {.relu = relu});
    EXPECT_EQ(y.to_vector<float>(),
              relu ? (std::vector<float>{3.5f, 0, 5.5f, 0}) : (std::vector<float>{3.5f, -0.5f, 5.5f, -2.5f}));
  }
}

// oneDNN computes them with plain AVX-512 too, slowly, so that the path is seen on CPUs without the instruction.
TEST(Conv2d, Bf16ByOneDnn) {
#if defined(USOL_WITH_ONEDNN)
  if (!onednn_computes_bf16()) GTEST_SKIP() << "needs AVX-512";
  const NoGrad no_grad;
  const struct {
    std::int64_t in, out, kernel, stride;
    bool accumulate;
  } cases[] = {{3, 64, 7, 2, false}, {64, 128, 1, 1, true}, {64, 64, 3, 1, false}, {32, 48, 3, 2, true}};
  for (const auto& c : cases) {
    const auto values = [](const Shape& shape) {
      return make_inputs({{shape}}, DType::kF32, Device{})[0].to(DType::kBF16);
    };
    const Tensor x = to_channels_last(values({2, c.in, 20, 30})), weight = values({c.out, c.in, c.kernel, c.kernel});
    const Tensor bias = values({c.out});
    Conv2dOptions options;
    options.padding = {c.kernel / 2, c.kernel / 2};
    options.stride = {c.stride, c.stride};
    options.relu = true;
    const Shape shape{2, c.out, conv2d_size(20, c.kernel, options, 0), conv2d_size(30, c.kernel, options, 1)};
    Tensor y = to_channels_last(values(shape)), expected = to_channels_last(y.to(DType::kF64).contiguous());
    if (!c.accumulate) expected.fill(0);
    conv2d_add_into(expected, x.to(DType::kF64), weight.to(DType::kF64), bias.to(DType::kF64), options);
    onednn_conv2d(x, weight, bias, options, c.accumulate, y);
    EXPECT_LE(relative_error(y.to(DType::kF64), expected), 5e-3) << c.kernel;  // the result's rounding: 2^-8
  }
#else
  GTEST_SKIP() << "built without oneDNN";
#endif
}

TEST(Conv2d, NoMaps) {
  Tensor x = Tensor::zeros({0, 3, 5, 5}), weight = Tensor::full({4, 3, 3, 3}, 1), bias = Tensor::zeros({4});
  for (Tensor* t : {&x, &weight, &bias}) set_requires_grad(*t);
  const Tensor y = conv2d(x, weight, bias, {.relu = true});
  EXPECT_EQ(y.shape(), (Shape{0, 4, 3, 3}));
  backward(y, Tensor::zeros(y.shape()));
  EXPECT_EQ(grad(weight).to_vector<float>(), std::vector<float>(4 * 27, 0.0f));
  EXPECT_EQ(grad(bias).to_vector<float>(), std::vector<float>(4, 0.0f));
}

TEST(Conv2d, Errors) {
  const Tensor x = Tensor::zeros({1, 4, 5, 5}), weight = Tensor::zeros({6, 4, 3, 3});
  EXPECT_THROW(conv2d(Tensor::zeros({4, 5, 5}), weight), Error);
  EXPECT_THROW(conv2d(x, Tensor::zeros({6, 3, 3, 3})), Error);
  EXPECT_THROW(conv2d(x, weight, Tensor::zeros({4})), Error);
  EXPECT_THROW(conv2d(x, weight, {}, {.groups = 2}), Error);
  EXPECT_THROW(conv2d(x, weight, {}, {.stride = {0, 1}}), Error);
  EXPECT_THROW(conv2d(x, weight, {}, {.padding = {-1, 0}}), Error);
  EXPECT_THROW(conv2d(x, weight, {}, {.dilation = {3, 1}}), Error);  // the kernel is larger than the map
  EXPECT_THROW(conv2d(x, weight.to(DType::kF64)), Error);
  Tensor y = Tensor::zeros({1, 6, 3, 3});  // row-major
  const NoGrad no_grad;
  EXPECT_THROW(conv2d_add_into(y, x, weight), Error);
}

TEST(Conv2d, InPlaceRefusesToLoseAGradient) {
  Tensor y = to_channels_last(Tensor::zeros({1, 6, 3, 3})), weight = Tensor::zeros({6, 4, 3, 3});
  set_requires_grad(weight);
  EXPECT_THROW(conv2d_add_into(y, Tensor::zeros({1, 4, 5, 5}), weight), Error);
}

}  // namespace
}  // namespace usol::test
