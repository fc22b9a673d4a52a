#include "usol/ops/pool2d.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr MaxPool2dOptions kStem{.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}};

OP_TEST({.name = "max_pool2d",
         .op = [](const Tensors& in) { return max_pool2d(in[0], kStem); },
         .reference =
             [](const Tensors& in) {
               const Tensor& x = in[0];
               return build({x.size(0), x.size(1), (x.size(2) + 1) / 2, (x.size(3) + 1) / 2}, [&](const Shape& i) {
                 double best = -1e300;
                 for (std::int64_t h = 2 * i[2] - 1; h <= 2 * i[2] + 1; ++h)
                   for (std::int64_t w = 2 * i[3] - 1; w <= 2 * i[3] + 1; ++w)
                     if (h >= 0 && h < x.size(2) && w >= 0 && w < x.size(3))
                       best = std::max(best, at(x, {i[0], i[1], h, w}));
                 return best;
               });
             },
         .inputs = {{{2, 5, 7, 8}}},
         .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
         .bench_inputs = {{{1, 64, 400, 608}}}});

OP_TEST({.name = "max_pool2d_every_second",
         .op =
             [](const Tensors& in) {
               return max_pool2d(in[0], {.kernel = {1, 1}, .stride = {2, 2}});
             },
         .reference =
             [](const Tensors& in) {
               return build({2, 3, 3, 2}, [&](const Shape& i) { return at(in[0], {i[0], i[1], 2 * i[2], 2 * i[3]}); });
             },
         .inputs = {{{2, 3, 5, 4}}}});

class MaxPool2dGolden : public testing::TestWithParam<std::tuple<const char*, MaxPool2dOptions>> {};

// Small integers, so that values tie: the gradient shows which of them was taken.
TEST_P(MaxPool2dGolden, EqualsPyTorch) {
  const std::string name = std::get<0>(GetParam());
  const auto& options = std::get<1>(GetParam());
  const auto golden = load_golden("pool2d.safetensors");
  const auto of = [&](const char* what) { return golden.at(name + "." + what); };
  Tensor x = of("x");
  set_requires_grad(x);
  const Tensor y = max_pool2d(x, options);
  ASSERT_EQ(y.shape(), of("y").shape());
  EXPECT_EQ(relative_error(y, of("y")), 0);
  backward(y, of("seed"));
  EXPECT_LE(relative_error(grad(x), of("grad_x")), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    PyTorch, MaxPool2dGolden,
    testing::Values(std::tuple{"stem", kStem}, std::tuple{"p6", MaxPool2dOptions{.kernel = {1, 1}, .stride = {2, 2}}},
                    std::tuple{"ceil", MaxPool2dOptions{{3, 2}, {2, 2}, {1, 1}, {1, 1}, true}},
                    std::tuple{"ceil_outside", MaxPool2dOptions{{2, 2}, {3, 3}, {1, 1}, {1, 1}, true}},
                    std::tuple{"dilated", MaxPool2dOptions{{2, 3}, {1, 2}, {0, 1}, {2, 2}, false}}));

TEST(MaxPool2d, NaNWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = max_pool2d(Tensor::from<float>({1, nan, 3, 2}, {1, 1, 2, 2}), {.kernel = {2, 2}});
  EXPECT_TRUE(std::isnan(y.item()));
}

// More channels than a vector has lanes, in inference, where nobody asks which pixel was the largest.
TEST(MaxPool2d, ManyChannelsWithoutGradient) {
  constexpr std::int64_t kChannels = 37;
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    Tensor x = make_inputs({{{2, kChannels, 6, 7}, -1, 1}}, DType::kF32, Device{})[0].to(dtype);
    const Tensor y = max_pool2d(x, kStem);
    set_requires_grad(x);
    EXPECT_EQ(relative_error(y, max_pool2d(x, kStem).detach()), 0) << static_cast<int>(dtype);
    Tensor bad = x.detach().clone();
    bad.select(3, 1).select(2, 1).fill(std::numeric_limits<double>::quiet_NaN());
    const Tensor corner = max_pool2d(bad, kStem).select(3, 0).select(2, 0).to(DType::kF32).contiguous();
    for (const float v : corner.to_vector<float>()) EXPECT_TRUE(std::isnan(v));
  }
}

TEST(MaxPool2d, NoMaps) { EXPECT_EQ(max_pool2d(Tensor::zeros({0, 4, 5, 5}), kStem).shape(), (Shape{0, 4, 3, 3})); }

TEST(MaxPool2d, Errors) {
  EXPECT_THROW(max_pool2d(Tensor::zeros({4, 5, 5}), kStem), Error);
  EXPECT_THROW(max_pool2d(Tensor::zeros({1, 4, 5, 5}, DType::kI32), kStem), Error);
  EXPECT_THROW(max_pool2d(Tensor::zeros({1, 4, 5, 5}), {.kernel = {3, 3}, .padding = {2, 2}}), Error);
  EXPECT_THROW(max_pool2d(Tensor::zeros({1, 4, 2, 5}), {.kernel = {3, 3}}), Error);
}

}  // namespace
}  // namespace usol::test
