// The fast convolution of inference against the plain one in f64: edges, paddings, batches, what is fused.
#include "usol/ops/conv2d_winograd.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/layout.h"

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

}  // namespace
}  // namespace usol
