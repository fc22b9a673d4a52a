// Linear layers in bf16 by the CPU's own products, emulated where it has none: against f64, and what is kept of
// weights.
#include "usol/ops/linear_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/ops/linear.h"
#include "usol/tensor/parallel.h"

namespace usol::test {
namespace {

// act(x weight^T + bias) by the kernel itself: on machines with AMX, linear() has a faster one.
Tensor by_kernel(const Bf16Products* products, const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                 Activation activation = Activation::kNone) {
  Tensor out = Tensor::empty({x.size(0), weight.size(0)}, DType::kBF16);
  linear_bf16(*products, x.contiguous(), weight.contiguous(), bias, activation, false, out);
  return out;
}

struct Case {
  std::int64_t rows, inputs, outputs;
};
// Rows over a tile and over a block, outputs beside whole panels.
const Case kCases[] = {{1, 2, 1}, {5, 48, 64}, {7, 64, 65}, {13, 100, 130}, {99, 30, 40}};

std::vector<std::uint16_t> bits(const Tensor& t) {
  std::vector<std::uint16_t> out;
  for (const bf16 x : t.to_vector<bf16>()) out.push_back(x.bits);
  return out;
}

TEST(LinearBf16, IsTheRoundedSum) {
  const NoGrad no_grad;
  const Bf16Products* products = emulated_bf16_products();
  for (const auto& [rows, inputs, outputs] : kCases)
    for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu}) {
      const Tensors in = make_inputs({{{rows, inputs}}, {{outputs, inputs}}, {{outputs}}}, DType::kBF16, {});
      const auto wide = [&](std::size_t i) { return in[i].to(DType::kF64); };
      EXPECT_LE(relative_error(by_kernel(products, in[0], in[1], in[2], activation).to(DType::kF64),
                               linear(wide(0), wide(1), wide(2), activation)),
                0x1p-8 + 1e-5)
          << rows << " x " << inputs << " x " << outputs;
      EXPECT_LE(relative_error(by_kernel(products, in[0], in[1]).to(DType::kF64), linear(wide(0), wide(1))),
                0x1p-8 + 1e-5);
    }
}

// Of each value by itself, so that small ones count as well: its own rounding and the error of GELU.
TEST(LinearBf16, GeluIsWithinTheRounding) {
  const NoGrad no_grad;
  const Bf16Products* products = emulated_bf16_products();
  Tensor x = Tensor::empty({4001, 2}), weight = Tensor::zeros({1, 2});
  for (std::int64_t i = 0; i < x.size(0); ++i) x.slice(0, i, i + 1).fill(static_cast<double>(i - 2000) / 200);
  weight.slice(1, 0, 1).fill(1);
  const Tensor in = x.to(DType::kBF16);
  const auto values = in.slice(1, 0, 1).contiguous().to_vector<bf16>();
  const auto found = by_kernel(products, in, weight.to(DType::kBF16), {}, Activation::kGelu).to_vector<bf16>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<double>(values[i]);
    const double exact = value / 2 * std::erfc(-value / std::sqrt(2.0));
    EXPECT_NEAR(found[i], exact, 0x1p-8 * std::abs(exact) + Bf16Products::kGeluError * std::abs(value)) << value;
  }
}

TEST(LinearBf16, AddsToWhatIsThere) {
  const NoGrad no_grad;
  const Bf16Products* products = emulated_bf16_products();
  for (const auto& [rows, inputs, outputs] : kCases) {
    const Tensors in =
        make_inputs({{{rows, inputs}}, {{outputs, inputs}}, {{outputs}}, {{rows, outputs}, 2, 3}}, DType::kBF16, {});
    Tensor found = in[3].clone(), exact = in[3].to(DType::kF64);
    linear_bf16(*products, in[0], in[1], in[2], Activation::kNone, true, found);
    linear_add_into(exact, in[0].to(DType::kF64), in[1].to(DType::kF64), in[2].to(DType::kF64));
    EXPECT_LE(relative_error(found.to(DType::kF64), exact), 0x1p-8 + 1e-5) << rows << " x " << inputs;
  }
}

TEST(LinearBf16, TheInstructionGivesTheEmulationsBits) {
  const Bf16Products* products = avx512_bf16_products();
  if (!products) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  const NoGrad no_grad;
  for (const auto& [rows, inputs, outputs] : kCases) {
    const Tensors in = make_inputs({{{rows, inputs}}, {{outputs, inputs}}, {{outputs}}}, DType::kBF16, {});
    EXPECT_EQ(bits(by_kernel(products, in[0], in[1], in[2], Activation::kGelu)),
              bits(by_kernel(emulated_bf16_products(), in[0], in[1], in[2], Activation::kGelu)))
        << rows << " x " << inputs;
  }
}

TEST(LinearBf16, ThreadsDoNotChangeTheBits) {
  const Bf16Products* products = emulated_bf16_products();
  const Tensors in = make_inputs({{{200, 20}}, {{70, 20}}, {{70}}}, DType::kBF16, {});
  const auto two = bits(by_kernel(products, in[0], in[1], in[2]));
  set_thread_count(1);
  const auto one = bits(by_kernel(products, in[0], in[1], in[2]));
  set_thread_count(0);
  EXPECT_EQ(one, two);
}

// linear() sends an odd number of inputs elsewhere.
TEST(LinearBf16, OddNumbersOfInputsAreRight) {
  EXPECT_FALSE(linear_bf16_takes(31));
  const Bf16Products* before = bf16_products();
  set_bf16_products(emulated_bf16_products());
  const Tensors in = make_inputs({{{6, 31}}, {{20, 31}}}, DType::kBF16, {});
  const Tensor found = linear(in[0], in[1]);
  set_bf16_products(before);
  EXPECT_LE(relative_error(found.to(DType::kF64), linear(in[0].to(DType::kF64), in[1].to(DType::kF64))), 0x1p-8 + 1e-5);
}

// The packed weight is kept; a changed weight, part of one, and another of the same memory are not taken for it.
TEST(LinearBf16, ChangedWeightsArePackedAnew) {
  const NoGrad no_grad;
  const Bf16Products* products = emulated_bf16_products();
  const Tensors in = make_inputs({{{3, 8}}, {{12, 8}}}, DType::kBF16, {});
  Tensor weight = in[1];
  const auto near = [&](const Tensor& w) {
    EXPECT_LE(relative_error(by_kernel(products, in[0].slice(1, 0, w.size(1)), w).to(DType::kF64),
                             linear(in[0].slice(1, 0, w.size(1)).to(DType::kF64), w.to(DType::kF64))),
              0x1p-8 + 1e-5)
        << to_string(w.shape());
  };
  near(weight.slice(0, 0, 5));
  near(weight);
  near(weight.reshape({24, 4}));
  weight.fill(0.25f);
  near(weight);
  near(weight.slice(0, 4, 12));
}

}  // namespace
}  // namespace usol::test
