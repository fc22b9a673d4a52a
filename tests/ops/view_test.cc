#include "usol/ops/view.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// `to_input` maps an index of the view to the index of the element it shows.
OpCase view_case(const char* name, const Shape& shape, OpFunction op, const Shape& viewed,
                 std::function<Shape(const Shape&)> to_input) {
  return {.name = name,
          .op = std::move(op),
          .reference =
              [=](const Tensors& in) { return build(viewed, [&](const Shape& i) { return at(in[0], to_input(i)); }); },
          .inputs = {{shape}}};
}

OP_TEST(view_case(
    "reshape", {2, 3, 4},
    [](const Tensors& in) {
      return reshape(in[0], {6, -1});
    },
    {6, 4},
    [](const Shape& i) {
      return Shape{i[0] / 3, i[0] % 3, i[1]};
    }));
OP_TEST(view_case(
    "transpose", {2, 3, 4}, [](const Tensors& in) { return transpose(in[0], 0, -1); }, {4, 3, 2},
    [](const Shape& i) {
      return Shape{i[2], i[1], i[0]};
    }));
OP_TEST(view_case(
    "permute", {2, 3, 4},
    [](const Tensors& in) {
      return permute(in[0], {2, 0, -2});
    },
    {4, 2, 3},
    [](const Shape& i) {
      return Shape{i[1], i[2], i[0]};
    }));
OP_TEST(view_case(
    "slice", {4, 7}, [](const Tensors& in) { return slice(in[0], 1, 1, 6, 2); }, {4, 3},
    [](const Shape& i) {
      return Shape{i[0], 1 + 2 * i[1]};
    }));
OP_TEST(view_case(
    "select", {4, 7, 2}, [](const Tensors& in) { return select(in[0], 1, -2); }, {4, 2},
    [](const Shape& i) {
      return Shape{i[0], 5, i[1]};
    }));
OP_TEST(view_case(
    "expand", {3, 1},
    [](const Tensors& in) {
      return expand(in[0], {2, 3, 4});
    },
    {2, 3, 4},
    [](const Shape& i) {
      return Shape{i[1], 0};
    }));
OP_TEST(view_case(
    "unsqueeze_squeeze", {3, 4}, [](const Tensors& in) { return squeeze(unsqueeze(unsqueeze(in[0], 1), -1), 1); },
    {3, 4, 1},
    [](const Shape& i) {
      return Shape{i[0], i[1]};
    }));
OP_TEST(view_case(
    "contiguous_of_transpose", {3, 4}, [](const Tensors& in) { return contiguous(transpose(in[0], 0, 1)); }, {4, 3},
    [](const Shape& i) {
      return Shape{i[1], i[0]};
    }));

TEST(View, SharesStorageForward) {
  Tensor a = Tensor::zeros({2, 3});
  set_requires_grad(a);
  const Tensor view = slice(transpose(reshape(a, {3, 2}), 0, 1), 0, 0, 1);
  EXPECT_EQ(view.storage(), a.storage());
}

TEST(View, OverlappingSlicesAddTheirGradients) {
  Tensor a = Tensor::from<float>({1, 2, 3}, {3});
  set_requires_grad(a);
  backward(add(slice(a, 0, 0, 2), slice(a, 0, 1, 3)), Tensor::full({2}, 1));
  EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{1, 2, 1}));
}

TEST(View, IntegersHaveViewsToo) {
  EXPECT_EQ(reshape(Tensor::arange(4), {2, 2}).select(0, 1).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{2, 3}));
  EXPECT_THROW(slice(Tensor::arange(4), 0, 2, 5), Error);
  EXPECT_THROW(permute(Tensor::zeros({2, 2}), {0, 0}), Error);
}

}  // namespace
}  // namespace usol::test
