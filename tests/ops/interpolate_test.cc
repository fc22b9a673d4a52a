#include "usol/ops/interpolate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

// Twice as large, half the pixels' distance: each output lies a quarter pixel from its input.
OP_TEST({.name = "interpolate_bilinear",
         .op = [](const Tensors& in) { return interpolate(in[0], 2 * in[0].size(2), 2 * in[0].size(3)); },
         .reference =
             [](const Tensors& in) {
               const Tensor& x = in[0];
               return build({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, [&](const Shape& i) {
                 const auto near = [](std::int64_t o) { return o / 2; };
                 const auto far = [](std::int64_t o, std::int64_t n) {
                   return std::clamp<std::int64_t>(o % 2 == 0 ? o / 2 - 1 : o / 2 + 1, 0, n - 1);
                 };
                 const std::int64_t y0 = near(i[2]), y1 = far(i[2], x.size(2)), x0 = near(i[3]),
                                    x1 = far(i[3], x.size(3));
                 return 0.75 * (0.75 * at(x, {i[0], i[1], y0, x0}) + 0.25 * at(x, {i[0], i[1], y0, x1})) +
                        0.25 * (0.75 * at(x, {i[0], i[1], y1, x0}) + 0.25 * at(x, {i[0], i[1], y1, x1}));
               });
             },
         .inputs = {{{2, 3, 4, 5}}},
         .reduction = 8,
         .bench_inputs = {{{1, 256, 100, 152}}}});

OP_TEST({.name = "interpolate_nearest",
         .op = [](const Tensors& in) { return interpolate(in[0], 8, 15, {.mode = InterpolateMode::kNearest}); },
         .reference =
             [](const Tensors& in) {
               return build({2, 3, 8, 15}, [&](const Shape& i) { return at(in[0], {i[0], i[1], i[2] / 2, i[3] / 3}); });
             },
         .inputs = {{{2, 3, 4, 5}}}});

class InterpolateGolden : public testing::TestWithParam<std::tuple<const char*, InterpolateOptions>> {};

TEST_P(InterpolateGolden, EqualsPyTorch) {
  const auto& [name, options] = GetParam();
  const auto golden = load_golden("resize_op.safetensors");
  const Tensor& expected = golden.at(name);
  const Tensor got = interpolate(golden.at("x"), expected.size(2), expected.size(3), options);
  EXPECT_LE(relative_error(got, expected), 2e-6);
}

constexpr auto kNearest = InterpolateMode::kNearest;
constexpr auto kBilinear = InterpolateMode::kBilinear;
constexpr auto kBicubic = InterpolateMode::kBicubic;
INSTANTIATE_TEST_SUITE_P(PyTorch, InterpolateGolden,
                         testing::Values(std::tuple{"nearest_up", InterpolateOptions{kNearest}},
                                         std::tuple{"nearest_down", InterpolateOptions{kNearest}},
                                         std::tuple{"bilinear_up", InterpolateOptions{kBilinear}},
                                         std::tuple{"bilinear_down", InterpolateOptions{kBilinear}},
                                         std::tuple{"bicubic_up", InterpolateOptions{kBicubic}},
                                         std::tuple{"bicubic_down", InterpolateOptions{kBicubic}},
                                         std::tuple{"bicubic_scale",
                                                    InterpolateOptions{kBicubic, false, 15.1 / 7, 5.1 / 9}},
                                         std::tuple{"nearest_scale", InterpolateOptions{kNearest, false, 2.3, 0.7}},
                                         std::tuple{"bilinear_aa", InterpolateOptions{kBilinear, true}},
                                         std::tuple{"bicubic_aa", InterpolateOptions{kBicubic, true}},
                                         std::tuple{"bicubic_aa_up", InterpolateOptions{kBicubic, true}}));

TEST(Interpolate, MapsWithTheirChannelsLastStaySo) {
  const auto golden = load_golden("resize_op.safetensors");
  const Tensor& expected = golden.at("bicubic_down");
  const Tensor got =
      interpolate(to_channels_last(golden.at("x")), expected.size(2), expected.size(3), {.mode = kBicubic});
  EXPECT_TRUE(is_channels_last(got));
  EXPECT_LE(relative_error(got, expected), 2e-6);
}

TEST(Interpolate, Errors) {
  EXPECT_THROW(interpolate(Tensor::zeros({1, 2, 3}), 2, 2), Error);
  EXPECT_THROW(interpolate(Tensor::zeros({1, 1, 2, 2}), 0, 2), Error);
  EXPECT_THROW(interpolate(Tensor::zeros({1, 1, 0, 2}), 2, 2), Error);
  EXPECT_THROW(interpolate(Tensor::zeros({1, 1, 2, 2}), 2, 2, {.mode = kNearest, .antialias = true}), Error);
}

}  // namespace
}  // namespace usol::test
