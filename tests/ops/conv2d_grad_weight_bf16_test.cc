// Gradients of weights in bf16 against the plain ones in f64 on the same numbers: kernels, strides, paddings, few and
// many channels. Where the CPU has no AVX512-BF16, with the arithmetic that it is held to.
#include "usol/ops/conv2d_grad_weight_bf16.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/ops/conv2d_rows.h"
#include "usol/ops/linear.h"
#include "usol/ops/matmul.h"
#include "usol/ops/onednn.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

const Bf16Products& products() { return avx512_bf16_products() ? *avx512_bf16_products() : *emulated_bf16_products(); }

Tensor values(const Shape& shape) {
  return test::make_inputs({{shape, -1, 1}}, DType::kF32, Device{})[0].to(DType::kBF16);
}
Tensor map(const Shape& shape) { return to_channels_last(values(shape)); }
Tensor wide_map(const Tensor& t) { return to_channels_last(t.to(DType::kF64)); }

struct Case {
  std::int64_t n, in, out, height, width, kernel_h, kernel_w;
  Conv2dOptions options;

  Shape result() const {
    return {n, out, conv2d_size(height, kernel_h, options, 0), conv2d_size(width, kernel_w, options, 1)};
  }
};
const std::vector<Case> kCases{
    {2, 64, 64, 9, 7, 1, 1, {}},                                       // an even number of pixels, whole panels
    {1, 70, 13, 5, 5, 1, 1, {}},                                       // an odd one, and a panel of six columns
    {1, 5, 3, 1, 1, 1, 1, {}},                                         // one pixel
    {1, 64, 20, 11, 13, 3, 3, {.padding = {1, 1}}},                    // a panel for each tap
    {3, 24, 70, 8, 9, 3, 3, {.padding = {1, 1}}},                      // panels of several taps
    {1, 32, 16, 16, 15, 3, 3, {.stride = {2, 2}, .padding = {1, 1}}},  // pixels that no tap sees
    {1, 40, 16, 12, 9, 1, 1, {.stride = {2, 3}}},                      // likewise
    {2, 3, 16, 21, 18, 7, 7, {.stride = {2, 2}, .padding = {3, 3}}},   // the first layer
    {1, 16, 8, 9, 10, 3, 2, {.padding = {3, 4}, .dilation = {2, 3}}},  // taps that never meet the map
    {1, 8, 300, 30, 40, 1, 1, {}},                                     // two blocks of outputs
    {1, 72, 9, 71, 61, 3, 3, {.padding = {1, 1}}}};                    // two pieces of pixels

Tensor by_kernel(const Bf16Products& with, const Case& c, const Tensor& x, const Tensor& grad) {
  Tensor out = Tensor::full({c.out, c.in, c.kernel_h, c.kernel_w}, 99, DType::kBF16);  // all of it is written
  conv2d_grad_weight_bf16(with, x, grad, c.options, out);
  return out;
}

std::vector<std::uint16_t> bits(const Tensor& t) {
  std::vector<std::uint16_t> out;
  for (const bf16 x : t.to_vector<bf16>()) out.push_back(x.bits);
  return out;
}

TEST(GradWeightBf16, IsTheRoundedSum) {
  for (const Case& c : kCases) {
    const Tensor x = map({c.n, c.in, c.height, c.width}), grad = map(c.result());
    Tensor expected = Tensor::empty({c.out, c.in, c.kernel_h, c.kernel_w}, DType::kF64);
    conv2d_grad_weight_rows(wide_map(x), wide_map(grad), c.options, expected);
    EXPECT_LE(test::relative_error(by_kernel(products(), c, x, grad).to(DType::kF64), expected), 4e-3)
        << c.in << " to " << c.out << ", " << c.height << " x " << c.width;
  }
}

TEST(GradWeightBf16, TheInstructionGivesTheEmulationsBits) {
  if (!avx512_bf16_products()) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  for (const Case& c : kCases) {
    const Tensor x = map({c.n, c.in, c.height, c.width}), grad = map(c.result());
    EXPECT_EQ(bits(by_kernel(*avx512_bf16_products(), c, x, grad)),
              bits(by_kernel(*emulated_bf16_products(), c, x, grad)));
  }
}

TEST(GradWeightBf16, ThreadsDoNotChangeTheBits) {
  for (const Case& c : kCases) {
    const Tensor x = map({c.n, c.in, c.height, c.width}), grad = map(c.result());
    std::vector<std::vector<std::uint16_t>> found;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      found.push_back(bits(by_kernel(products(), c, x, grad)));
    }
    set_thread_count(0);
    EXPECT_EQ(found[0], found[1]);
    EXPECT_EQ(found[0], found[2]);
  }
}

TEST(GradWeightBf16, OfALinearLayer) {
  struct Layer {
    std::int64_t rows, inputs, outputs;
  };
  for (const auto& [rows, inputs, outputs] : {Layer{1, 3, 2}, {37, 66, 65}, {300, 130, 7}, {2500, 64, 12}}) {
    const Tensor x = values({rows, inputs}), grad = values({rows, outputs});
    Tensor found = Tensor::full({outputs, inputs}, 99, DType::kBF16);
    linear_grad_weight_bf16(products(), x, grad, found);
    EXPECT_LE(
        test::relative_error(found.to(DType::kF64), matmul(grad.to(DType::kF64).transpose(0, 1), x.to(DType::kF64))),
        4e-3)
        << rows << " x " << inputs << " to " << outputs;
  }
}

// Gradients of convolutions, also with groups, and of linear layers, as backward() makes them.
TEST(GradWeightBf16, IsWhatTrainingTakes) {
  const Bf16Products* before = bf16_products();
  set_bf16_products(&products());
  for (const std::int64_t groups : {1, 2}) {
    const Conv2dOptions options{.stride = {2, 1}, .padding = {1, 1}, .groups = groups};
    const Tensor x = map({2, 16, 9, 8}), seed = map({2, 12, 5, 8});
    Tensor weight = values({12, 16 / groups, 3, 3}), exact = weight.to(DType::kF64);
    set_requires_grad(weight);
    set_requires_grad(exact);
    backward(conv2d(x, weight, {}, options), seed);
    backward(conv2d(wide_map(x), exact, {}, options), wide_map(seed));
    EXPECT_LE(test::relative_error(grad(weight).to(DType::kF64), grad(exact)), 4e-3) << groups;
    if (groups > 1) continue;
    Tensor direct = Tensor::empty(weight.shape(), DType::kBF16);
    conv2d_grad_weight_bf16(products(), x, seed, options, direct);
    EXPECT_EQ(bits(grad(weight)), bits(direct));
  }
  if (!onednn_multiplies_bf16_faster()) {
    const Tensor x = values({3, 70, 20}), seed = values({3, 70, 9});
    Tensor weight = values({9, 20}), direct = Tensor::empty({9, 20}, DType::kBF16);
    set_requires_grad(weight);
    backward(linear(x, weight), seed);
    linear_grad_weight_bf16(products(), x.reshape({210, 20}), seed.reshape({210, 9}), direct);
    EXPECT_EQ(bits(grad(weight)), bits(direct));
  }
  set_bf16_products(before);
}

}  // namespace
}  // namespace usol
