#include "usol/tensor/layout.h"

#include <gtest/gtest.h>

#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

Tensor numbers(const Shape& shape) { return Tensor::arange(shape.numel(), DType::kF32).reshape(shape); }

TEST(Layout, ChannelsLastHoldsTheSameElements) {
  const Tensor x = numbers({2, 3, 4, 5}), y = to_channels_last(x);
  EXPECT_FALSE(is_channels_last(x));
  EXPECT_TRUE(is_channels_last(y));
  EXPECT_EQ(y.to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(y.data<float>()[1], x.select(0, 0).select(0, 1).to_vector<float>()[0]);  // the next channel
  EXPECT_EQ(to_channels_last(y).raw(), y.raw());
  EXPECT_EQ(channels_last_rows(y).shape(), (Shape{40, 3}));
  EXPECT_EQ(channels_last_rows(y).select(0, 1).to_vector<float>(), (std::vector<float>{1, 21, 41}));
  EXPECT_THROW(channels_last_rows(x), Error);
}

TEST(Layout, OneChannelIsInBothOrders) {
  const Tensor x = numbers({2, 1, 4, 5});
  EXPECT_TRUE(is_channels_last(x));
  EXPECT_EQ(to_channels_last(x).strides(), (Shape{20, 1, 5, 1}));
  EXPECT_EQ(to_channels_last(x).raw(), x.raw());
}

TEST(Layout, EmptyLikeKeepsTheOrder) {
  const Tensor last = to_channels_last(numbers({2, 3, 4, 5}));
  EXPECT_EQ(empty_like(last).strides(), last.strides());
  const Tensor gaps = numbers({2, 3, 4, 6}).slice(3, 0, 6, 2);
  EXPECT_TRUE(empty_like(gaps).is_contiguous());
  EXPECT_EQ(empty_like(numbers({3, 4}).transpose(0, 1)).strides(), (Shape{1, 4}));
  EXPECT_EQ(memory_order(last), (std::vector<int>{0, 2, 3, 1}));
  EXPECT_EQ(clone_like(last).to_vector<float>(), last.to_vector<float>());
  EXPECT_NE(clone_like(last).raw(), last.raw());
}

TEST(Layout, ElementwiseOpsKeepTheOrder) {
  const Tensor x = numbers({2, 3, 4, 5}), last = to_channels_last(x);
  EXPECT_TRUE(is_channels_last(relu(last)));
  EXPECT_TRUE(is_channels_last(add(last, numbers({3, 1, 1}))));
  EXPECT_TRUE(is_channels_last(add(numbers({3, 1, 1}), last)));
  EXPECT_EQ(add(last, numbers({3, 1, 1})).to_vector<float>(), add(x, numbers({3, 1, 1})).to_vector<float>());
  EXPECT_EQ(add(last, x).to_vector<float>(), affine(x, 2).to_vector<float>());
}

}  // namespace
}  // namespace usol
