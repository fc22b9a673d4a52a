#include "usol/ops/cast.h"

#include <gtest/gtest.h>

#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"

namespace usol::test {
namespace {

TEST(Cast, GradientComesBackInTheInputsType) {
  Tensor a = Tensor::from<float>({1, 2, 3}, {3});
  set_requires_grad(a);
  const Tensor half = cast(a, DType::kBF16);
  EXPECT_EQ(half.dtype(), DType::kBF16);
  backward(mul(half, half), Tensor::full({3}, 1, DType::kBF16));
  EXPECT_EQ(grad(a).to_vector<float>(), (std::vector<float>{2, 4, 6}));
}

TEST(Cast, SameTypeIsTheSameTensor) {
  const Tensor a = Tensor::zeros({3});
  EXPECT_EQ(cast(a, DType::kF32).storage(), a.storage());
  EXPECT_EQ(to_device(a, Device::cpu()).storage(), a.storage());
}

TEST(Cast, IntegersCarryNoGradient) {
  Tensor a = Tensor::from<float>({1.75f, -2.5f}, {2});
  set_requires_grad(a);
  const Tensor i = cast(a, DType::kI64);
  EXPECT_FALSE(requires_grad(i));
  EXPECT_EQ(i.to_vector<std::int64_t>(), (std::vector<std::int64_t>{1, -2}));
}

}  // namespace
}  // namespace usol::test
