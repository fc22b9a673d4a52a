#include "usol/ops/symmetric_eigen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// A chain of n equal springs: eigenvalues 2 - 2 cos(pi k / (n + 1)), vectors sin(pi i k / (n + 1)).
Tensor chain(std::int64_t n) {
  return build({n, n}, [&](const Shape& i) { return i[0] == i[1] ? 2.0 : (std::abs(i[0] - i[1]) == 1 ? -1.0 : 0.0); });
}

double chain_value(std::int64_t n, std::int64_t k) {  // k = 0 is the largest
  return 2 - 2 * std::cos(std::numbers::pi * static_cast<double>(n - k) / static_cast<double>(n + 1));
}

// The matrix has its n values on the diagonal before it is turned by a reflection that depends on the input.
OP_TEST({.name = "symmetric_eigen_values",
         .op =
             [](const Tensors& in) {
               const Tensor h = in[0].to(Device::cpu()).to(DType::kF64).contiguous();
               const std::int64_t n = h.size(0);
               double square = 0;
               for (std::int64_t i = 0; i < n; ++i) square += at(h, {i}) * at(h, {i});
               const auto reflection = [&](std::int64_t i, std::int64_t j) {
                 return (i == j ? 1.0 : 0.0) - 2 * at(h, {i}) * at(h, {j}) / square;
               };
               const Tensor a = build({n, n}, [&](const Shape& i) {
                 double sum = 0;
                 for (std::int64_t k = 0; k < n; ++k)
                   sum += reflection(i[0], k) * static_cast<double>(k * k) * reflection(i[1], k);
                 return sum;
               });
               return symmetric_eigen(a.to(in[0].device()), 5).values;
             },
         .reference =
             [](const Tensors& in) {
               const std::int64_t n = in[0].size(0);
               return build({5}, [&](const Shape& i) { return static_cast<double>((n - 1 - i[0]) * (n - 1 - i[0])); });
             },
         .inputs = {{{9}, 0.1, 1}},
         .reduction = 9,
         .gradient = false});

TEST(CudaSymmetricEigen, VectorsOfAChain) {
  constexpr std::int64_t n = 12, count = 4;
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_available()) devices.push_back(Device::cuda());
  for (const Device device : devices) {
    const SymmetricEigen pairs = symmetric_eigen(chain(n).to(device), count);
    const Tensor values = pairs.values.to(Device::cpu()), vectors = pairs.vectors.to(Device::cpu());
    ASSERT_EQ(vectors.shape(), (Shape{count, n}));
    for (std::int64_t k = 0; k < count; ++k) {
      EXPECT_NEAR(at(values, {k}), chain_value(n, k), 1e-12);
      double dot = 0;
      for (std::int64_t i = 0; i < n; ++i)
        dot += at(vectors, {k, i}) * std::sqrt(2.0 / (n + 1)) *
               std::sin(std::numbers::pi * static_cast<double>((i + 1) * (n - k)) / (n + 1));
      EXPECT_NEAR(std::abs(dot), 1, 1e-12) << k;
    }
  }
}

TEST(SymmetricEigen, BadArgumentsAreErrors) {
  EXPECT_EQ(symmetric_eigen(chain(3), 0).vectors.shape(), (Shape{0, 3}));
  EXPECT_THROW(symmetric_eigen(chain(3), 4), Error);
  EXPECT_THROW(symmetric_eigen(Tensor::zeros({2, 3}, DType::kF64), 1), Error);
  EXPECT_THROW(symmetric_eigen(Tensor::zeros({2, 2}), 1), Error);
  EXPECT_THROW(symmetric_eigen(Tensor::full({2, 2}, NAN, DType::kF64), 1), Error);
}

}  // namespace
}  // namespace usol::test
