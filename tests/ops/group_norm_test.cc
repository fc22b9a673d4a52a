#include "usol/ops/group_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

// The group's values are gathered first: no sum is shared with the op.
Tensor naive(const Tensors& in, std::int64_t groups) {
  const Tensor& x = in[0];
  const std::int64_t width = x.size(1) / groups;
  return build(x.shape(), [&](const Shape& i) {
    std::vector<double> values;
    for (std::int64_t c = i[1] / width * width; c < (i[1] / width + 1) * width; ++c)
      for (std::int64_t y = 0; y < x.size(2); ++y)
        for (std::int64_t w = 0; w < x.size(3); ++w) values.push_back(at(x, {i[0], c, y, w}));
    double mean = 0, variance = 0;
    for (const double v : values) mean += v / static_cast<double>(values.size());
    for (const double v : values) variance += (v - mean) * (v - mean) / static_cast<double>(values.size());
    return (at(x, i) - mean) / std::sqrt(variance + 1e-5) * at(in[1], {i[1]}) + at(in[2], {i[1]});
  });
}

OpCase group_norm_case(const char* name, std::int64_t groups, const Shape& shape) {
  return {
      .name = name,
      .op = [groups](const Tensors& in) { return group_norm(in[0], in[1], in[2], groups); },
      .reference = [groups](const Tensors& in) { return naive(in, groups); },
      .inputs = {{shape, -2, 3}, {{shape[1]}}, {{shape[1]}}},
      .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
      .reduction = shape[1] / groups * shape[2] * shape[3],
      .bench_inputs = groups == 4 ? std::vector<Input>{{{2, 256, 50, 76}}, {{256}}, {{256}}} : std::vector<Input>{}};
}

OP_TEST(group_norm_case("group_norm", 4, {2, 8, 3, 5}));
OP_TEST(group_norm_case("group_norm_one_group", 1, {2, 3, 4, 3}));
OP_TEST(group_norm_case("group_norm_many_channels", 5, {2, 40, 1, 2}));

TEST(GroupNorm, LiesInMemoryWithChannelsLast) {
  const Tensor one = Tensor::full({4}, 1), zero = Tensor::zeros({4});
  EXPECT_TRUE(is_channels_last(group_norm(Tensor::zeros({2, 4, 3, 5}), one, zero, 2)));
  EXPECT_EQ(group_norm(Tensor::zeros({0, 4, 3, 5}), one, zero, 2).shape(), (Shape{0, 4, 3, 5}));
}

TEST(GroupNorm, Errors) {
  const Tensor x = Tensor::zeros({2, 6, 4, 4}), six = Tensor::zeros({6});
  EXPECT_THROW(group_norm(x, six, six, 4), Error);
  EXPECT_THROW(group_norm(x, six, six, 0), Error);
  EXPECT_THROW(group_norm(x, Tensor::zeros({3}), six, 3), Error);
  EXPECT_THROW(group_norm(x, six, six.to(DType::kF64), 3), Error);
  EXPECT_THROW(group_norm(Tensor::zeros({2, 6, 0, 4}), six, six, 3), Error);
  EXPECT_THROW(group_norm(Tensor::zeros({2, 6}), six, six, 3), Error);
}

}  // namespace
}  // namespace usol::test
