#include "usol/ops/batch_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "tests/support/thread_ranks.h"
#include "usol/autograd/tape.h"
#include "usol/ops/batch_norm_rows.h"
#include "usol/ops/cast.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

// Mean and variance in two passes over each channel.
template <bool kRelu>
Tensor naive_train(const Tensors& in) {
  const Tensor& x = in[0];
  const auto per_channel = [&](const std::function<double(double, std::int64_t)>& f) {
    return build({x.size(1)}, [&](const Shape& c) {
      double total = 0;
      for (std::int64_t n = 0; n < x.size(0); ++n)
        for (std::int64_t h = 0; h < x.size(2); ++h)
          for (std::int64_t w = 0; w < x.size(3); ++w) total += f(at(x, {n, c[0], h, w}), c[0]);
      return total / static_cast<double>(x.size(0) * x.size(2) * x.size(3));
    });
  };
  const Tensor mean = per_channel([](double v, std::int64_t) { return v; });
  const Tensor variance = per_channel([&](double v, std::int64_t c) { return std::pow(v - at(mean, {c}), 2); });
  return build(x.shape(), [&](const Shape& i) {
    const Shape c{i[1]};
    const double y = (at(x, i) - at(mean, c)) / std::sqrt(at(variance, c) + 1e-5) * at(in[1], c) + at(in[2], c);
    return kRelu ? std::max(y, 0.0) : y;
  });
}

// The channel tensors are f32 for maps of 16 bits.
DType statistics_of(const Tensor& x) { return x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32; }

Tensor run_train(const Tensors& in, bool relu) {
  const DType dtype = statistics_of(in[0]);
  Tensor mean = Tensor::zeros({in[0].size(1)}, dtype, in[0].device()), variance = mean.clone();
  return batch_norm_train(in[0], cast(in[1], dtype), cast(in[2], dtype), mean, variance, {.relu = relu});
}

OpCase train_case(const char* name, bool relu) {
  return {.name = name,
          .op = [relu](const Tensors& in) { return run_train(in, relu); },
          .reference = relu ? naive_train<true> : naive_train<false>,
          .inputs = {{{3, 5, 2, 3}, -2, 3}, {{5}}, {{5}}},
          .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
          .reduction = 18,
          .bench_inputs = {{{2, 256, 200, 304}}, {{256}}, {{256}}}};
}

OP_TEST(train_case("batch_norm_train", false));
OP_TEST(train_case("batch_norm_train_relu", true));

OP_TEST({.name = "batch_norm_infer",
         .op =
             [](const Tensors& in) {
               const DType dtype = statistics_of(in[0]);
               return batch_norm_infer(in[0], cast(in[1], dtype), cast(in[2], dtype), cast(in[3], dtype),
                                       cast(in[4], dtype), 1e-5);
             },
         .reference =
             [](const Tensors& in) {
               return build(in[0].shape(), [&](const Shape& i) {
                 const Shape c{i[1]};
                 return (at(in[0], i) - at(in[3], c)) / std::sqrt(at(in[4], c) + 1e-5) * at(in[1], c) + at(in[2], c);
               });
             },
         .inputs = {{{3, 5, 2, 3}}, {{5}}, {{5}}, {{5}, -1, 1, DType::kF32, false}, {{5}, 0.5, 2, DType::kF32, false}},
         .dtypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16},
         .reduction = 8});

class BatchNormGolden : public testing::TestWithParam<const char*> {};

TEST_P(BatchNormGolden, EqualsPyTorch) {
  const std::string name = GetParam();
  const auto golden = load_golden("batch_norm.safetensors");
  const auto of = [&](const char* what) { return golden.at(name + "." + what); };
  Tensor x = golden.at("x"), weight = golden.at("weight"), bias = golden.at("bias");
  Tensor mean = golden.at("mean").clone(), variance = golden.at("var").clone();
  for (Tensor* t : {&x, &weight, &bias}) set_requires_grad(*t);
  const Tensor y = name == "infer" ? batch_norm_infer(x, weight, bias, mean, variance)
                                   : batch_norm_train(x, weight, bias, mean, variance, {.relu = name == "train_relu"});
  EXPECT_LE(relative_error(y, of("y")), 5e-6);
  EXPECT_LE(relative_error(mean, of("mean")), 1e-6);
  EXPECT_LE(relative_error(variance, of("var")), 1e-6);
  backward(y, golden.at("seed"));
  EXPECT_LE(relative_error(grad(x), of("grad_x")), 1e-5);
  EXPECT_LE(relative_error(grad(weight), of("grad_weight")), 1e-5);
  EXPECT_LE(relative_error(grad(bias), of("grad_bias")), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(PyTorch, BatchNormGolden, testing::Values("train", "train_relu", "infer"));

// One image on one rank, three on the other: as if all four were in one process.
TEST(SyncBatchNorm, TwoRanksEqualOneProcess) {
  const auto golden = load_golden("batch_norm.safetensors");
  const std::vector<std::pair<std::int64_t, std::int64_t>> images{{0, 1}, {1, 4}};
  struct Result {
    Tensor y, x, weight, bias, mean, variance;
  };
  std::vector<Result> results(2);
  ThreadRanks::run(2, [&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    Result& r = results[rank];
    const auto [first, end] = images[rank];
    r = {{},
         golden.at("x").slice(0, first, end).clone(),
         golden.at("weight").clone(),
         golden.at("bias").clone(),
         golden.at("mean").clone(),
         golden.at("var").clone()};
    for (Tensor* t : {&r.x, &r.weight, &r.bias}) set_requires_grad(*t);
    r.y = batch_norm_train(r.x, r.weight, r.bias, r.mean, r.variance, {.relu = true, .ranks = &communicator});
    backward(r.y, golden.at("seed").slice(0, first, end));
  });
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const auto [first, end] = images[rank];
    const Result& r = results[rank];
    EXPECT_LE(relative_error(r.y, golden.at("train_relu.y").slice(0, first, end)), 5e-6);
    EXPECT_LE(relative_error(grad(r.x), golden.at("train_relu.grad_x").slice(0, first, end)), 2e-5);
    EXPECT_LE(relative_error(r.mean, golden.at("train_relu.mean")), 1e-6);
    EXPECT_LE(relative_error(r.variance, golden.at("train_relu.var")), 1e-6);
  }
  const auto total = [&](Tensor Result::*parameter) {
    Tensor sum = grad(results[0].*parameter).clone();
    for (std::int64_t i = 0; i < sum.numel(); ++i)
      sum.mutable_data<float>()[i] += grad(results[1].*parameter).data<float>()[i];
    return sum;
  };
  EXPECT_LE(relative_error(total(&Result::weight), golden.at("train_relu.grad_weight")), 1e-5);
  EXPECT_LE(relative_error(total(&Result::bias), golden.at("train_relu.grad_bias")), 1e-5);
}

TEST(SyncBatchNorm, ARankWithoutImagesTakesPart) {
  Tensor means[2];
  ThreadRanks::run(2, [&](Communicator& communicator) {
    const int rank = communicator.rank();
    Tensor x = Tensor::full({rank == 0 ? 0 : 2, 3, 2, 2}, 5);
    set_requires_grad(x);
    Tensor weight = Tensor::full({3}, 1), bias = Tensor::zeros({3}), variance = Tensor::full({3}, 1);
    means[rank] = Tensor::zeros({3});
    const Tensor y = batch_norm_train(x, weight, bias, means[rank], variance, {.momentum = 1, .ranks = &communicator});
    backward(y, Tensor::zeros(y.shape()));
  });
  for (const Tensor& mean : means) EXPECT_EQ(mean.to_vector<float>(), std::vector<float>(3, 5.0f));
}

TEST(BatchNorm, Errors) {
  const Tensor x = Tensor::zeros({2, 3, 4, 4}), three = Tensor::zeros({3}), four = Tensor::zeros({4});
  Tensor mean = Tensor::zeros({3}), variance = Tensor::full({3}, 1);
  EXPECT_THROW(batch_norm_train(x, four, three, mean, variance), Error);
  EXPECT_THROW(batch_norm_train(x, three, three.to(DType::kF64), mean, variance), Error);
  EXPECT_THROW(batch_norm_train(Tensor::zeros({3, 4}), three, three, mean, variance), Error);
  EXPECT_THROW(batch_norm_train(Tensor::zeros({1, 3, 1, 1}), three, three, mean, variance), Error);
  EXPECT_THROW(batch_norm_train(Tensor::zeros({0, 3, 4, 4}), three, three, mean, variance), Error);
  EXPECT_THROW(batch_norm_infer(x, three, three, mean, Tensor::zeros({4})), Error);
}

// The vectorised loops against plain ones: whole vectors and the rest of a row, with and without a ReLU.
template <class T>
void expect_rows_equal_the_plain_loops(double tolerance) {
  constexpr std::int64_t kRows = 70, kChannels = 37;
  const Tensors in = make_inputs({{{kRows, kChannels}, -2, 3}, {{kRows, kChannels}, -2, 3}, {{kRows, kChannels}}},
                                 dtype_of<T>, Device{});
  const Tensor coefficients = make_inputs({{{3, kChannels}}}, DType::kF32, Device{})[0];
  const T *x = in[0].data<T>(), *grad = in[1].data<T>();
  const auto* k = coefficients.data<float>();
  for (const T* out : {static_cast<const T*>(nullptr), in[2].data<T>()}) {
    std::vector<double> sums(2 * kChannels, 0.5), expected_sums = sums;
    std::vector<T> of_x(kRows * kChannels);
    std::vector<double> expected(of_x.size());
    for (std::size_t i = 0; i < of_x.size(); ++i) {
      const std::size_t c = i % kChannels;
      const double g = out && !(float(out[i]) > 0) ? 0 : double{float(grad[i])}, v = float(x[i]);
      expected_sums[c] += g;
      expected_sums[kChannels + c] += g * v;  // exact, so that these sums are equal to the bit
      expected[i] = double{k[c]} * g + double{k[kChannels + c]} * v + k[2 * kChannels + c];
    }
    const BatchNormRows<T> rows{x, grad, out, kRows, kChannels};
    batch_norm_grad_sums_rows(rows, sums.data(), sums.data() + kChannels);
    batch_norm_grad_input_rows(rows, k, of_x.data());
    EXPECT_EQ(sums, expected_sums);
    for (std::size_t i = 0; i < of_x.size(); ++i)
      EXPECT_NEAR(float(of_x[i]), expected[i], 1e-6 + tolerance * std::abs(expected[i])) << i;
  }
}

TEST(BatchNormRows, EqualThePlainLoops) {
  expect_rows_equal_the_plain_loops<float>(0);
  expect_rows_equal_the_plain_loops<bf16>(0x1p-8);
}

TEST(BatchNormRows, OfBf16EqualThePlainLoopsForwardToo) {
  constexpr std::int64_t kRows = 9, kChannels = 37;
  const Tensor x = make_inputs({{{kRows, kChannels}, -2, 3}}, DType::kBF16, Device{})[0];
  const Tensors of_channels = make_inputs({{{kChannels}}, {{kChannels}}}, DType::kF32, Device{});
  const auto* from = x.data<bf16>();
  const float *scale = of_channels[0].data<float>(), *shift = of_channels[1].data<float>();
  std::vector<double> sums(2 * kChannels, 0.5), expected_sums = sums;
  for (std::size_t i = 0; i < kRows * kChannels; ++i) {
    const double v = float(from[i]);
    expected_sums[i % kChannels] += v;
    expected_sums[kChannels + i % kChannels] += v * v;
  }
  batch_norm_sums_rows(from, kRows, kChannels, sums.data(), sums.data() + kChannels);
  EXPECT_EQ(sums, expected_sums);
  for (const bool relu : {false, true}) {
    std::vector<bf16> y(kRows * kChannels);
    batch_norm_apply_rows(from, kRows, kChannels, scale, shift, relu, y.data());
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float product = float(from[i]) * scale[i % kChannels], sum = product + shift[i % kChannels];
      EXPECT_EQ(y[i].bits, bf16(relu && sum < 0 ? 0 : sum).bits) << i;
    }
  }
}

}  // namespace
}  // namespace usol::test
