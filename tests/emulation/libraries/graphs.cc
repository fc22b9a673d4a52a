// The graphs and products that the ops build for NVIDIA's libraries, interpreted, against the CPU's kernels in f64: all
// dtypes, odd sizes, views, gradients; and faults planted in what is described, each of which must be noticed.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <thread>

#include "tests/emulation/libraries/libraries.h"
#include "tests/emulation/libraries/workspace.h"
#include "tests/emulation/schedule.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/attention.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/linear.h"
#include "usol/ops/matmul.h"
#include "usol/tensor/cuda/blas.h"
#include "usol/tensor/cuda/dnn.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/precision.h"

namespace usol::test {
namespace {

using emulation::Cudnn;

const std::vector<DType> kHalves{DType::kF16, DType::kBF16};
const std::vector<DType> kOfLibraries{DType::kF32, DType::kF16, DType::kBF16};

// In a thread without plans, with that much of cuDNN.
void with_cudnn(Cudnn takes, const std::function<void()>& body) {
  const Cudnn before = emulation::cudnn();
  emulation::set_cudnn(takes);
  std::thread([&] {
    try {
      body();
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }).join();
  emulation::set_cudnn(before);
}

Tensor values(const Shape& shape, DType dtype, std::uint64_t seed, double range = 1) {
  std::vector<Input> inputs(seed + 1, Input{{1}});
  inputs.back() = Input{shape, -range, range};
  return make_inputs(inputs, dtype, Device::cuda()).back();
}
Tensor wide(const Tensor& t) { return t.to(Device::cpu()).to(DType::kF64).contiguous(); }

double limit(DType dtype, std::int64_t terms) { return tolerance_of(dtype, terms); }

// ---- products ----

struct Case {
  std::int64_t m = 0, n = 0, k = 0;
};

TEST(CudaLibraries, LinearLayersOfViTs) {
  const NoGrad no_grad;
  // Widths of ViT-S and odd ones; rows of odd counts of tokens.
  for (const auto& [m, n, k] : {Case{5, 48, 16}, Case{37, 17, 23}, Case{1, 1, 1}, Case{65, 384, 31}})
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64})
      for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu})
        for (const bool biased : {true, false}) {
          SCOPED_TRACE(to_string(dtype) + " " + std::to_string(m) + (biased ? " biased" : ""));
          const Tensor x = values({m, k}, dtype, 0), w = values({n, k}, dtype, 1),
                       bias = biased ? values({n}, dtype, 2) : Tensor{};
          const Tensor expected = linear(wide(x), wide(w), biased ? wide(bias) : Tensor{}, activation);
          EXPECT_LE(relative_error(linear(x, w, bias, activation), expected),
                    limit(dtype, k) + (activation == Activation::kGelu && dtype == DType::kBF16 ? 5e-4 : 0));
        }
}

// What a fault in a product's description does: an Error, or a result that is far off.
bool noticed(const std::function<void(cuda::BlasProduct&)>& plant, DType dtype) {
  constexpr std::int64_t kM = 6, kN = 6, kK = 6, kLeading = 8;
  const Tensor a = values({2, kM, kLeading}, dtype, 0), b = values({2, kK, kLeading}, dtype, 1),
               bias = values({kN}, dtype, 2);
  Tensor c = Tensor::zeros({2, kM, kN}, dtype, Device::cuda());
  cuda::BlasProduct p;
  p.dtype = dtype;
  p.m = kM, p.n = kN, p.k = kK, p.batch = 2;
  p.a = a.raw(), p.lda = kLeading, p.stride_a = kM * kLeading;
  p.b = b.raw(), p.ldb = kLeading, p.stride_b = kK * kLeading;
  p.c = c.raw(), p.ldc = kN, p.stride_c = kM * kN;
  p.bias = bias.raw();
  p.epilogue = cuda::BlasEpilogue::kBiasRelu;
  plant(p);
  try {
    const cuda::Queue queue("planted", Device::cuda());
    blas_product(queue, p);
  } catch (const Error&) {
    return true;
  }
  const auto x = wide(a).to_vector<double>(), y = wide(b).to_vector<double>(), z = wide(bias).to_vector<double>(),
             got = wide(c).to_vector<double>();
  double worst = 0;
  for (std::int64_t i = 0; i < 2 * kM; ++i)
    for (std::int64_t j = 0; j < kN; ++j) {
      double total = z[j];
      for (std::int64_t l = 0; l < kK; ++l) total += x[i * kLeading + l] * y[(i / kM * kK + l) * kLeading + j];
      worst = std::max(worst, std::abs(got[i * kN + j] - std::max(total, 0.0)));
    }
  return worst > 0.05;
}

TEST(CudaLibraries, FaultsOfAProductAreNoticed) {
  using P = cuda::BlasProduct;
  const std::vector<std::pair<const char*, std::function<void(P&)>>> faults{
      {"a's rows", [](P& p) { p.lda = 7; }},
      {"b's rows", [](P& p) { p.ldb = 6; }},
      {"c's rows", [](P& p) { p.ldc = 5; }},
      {"a's matrices", [](P& p) { p.stride_a = 0; }},
      {"b's matrices", [](P& p) { p.stride_b += 8; }},
      {"c's matrices", [](P& p) { p.stride_c = 6; }},
      {"a transposed", [](P& p) { p.transpose_a = true; }},
      {"b transposed", [](P& p) { p.transpose_b = true; }},
      {"no bias", [](P& p) { p.epilogue = cuda::BlasEpilogue::kNone; }},
      {"no ReLU", [](P& p) { p.epilogue = cuda::BlasEpilogue::kBias; }},
      {"GELU", [](P& p) { p.epilogue = cuda::BlasEpilogue::kBiasGeluTanh; }},
      {"a short sum", [](P& p) { p.k = 5; }},
      {"a long sum", [](P& p) { p.k = 9; }},
      {"a row too many", [](P& p) { p.m = 7; }},
      {"written over an input", [](P& p) { p.a = p.c; }},
      {"another pointer", [](P& p) { p.b = static_cast<const std::byte*>(p.b) + 16; }},
      {"an odd address", [](P& p) { p.c = static_cast<std::byte*>(p.c) + 1; }},
      {"host memory",
       [](P& p) {
         static float host[4096];
         p.a = host;
       }},
  };
  for (const DType dtype : kOfLibraries) {
    EXPECT_FALSE(noticed([](P&) {}, dtype)) << to_string(dtype);
    for (const auto& [what, plant] : faults) EXPECT_TRUE(noticed(plant, dtype)) << what << " " << to_string(dtype);
  }
}

TEST(CudaLibraries, Tf32OnlyWhereItIsAllowed) {
  const NoGrad no_grad;
  with_cudnn(Cudnn::kAll, [] {
    const Tensor a = values({32, 64}, DType::kF32, 0), b = values({64, 32}, DType::kF32, 1);
    const Tensor x = to_channels_last(values({1, 8, 9, 7}, DType::kF32, 0)), w = values({8, 8, 3, 3}, DType::kF32, 1);
    const Conv2dOptions same{.padding = {1, 1}};
    const Tensor product = matmul(wide(a), wide(b)), map = conv2d(wide(x), wide(w), {}, same);
    const int before = emulation::cudnn_runs();
    for (const bool allowed : {false, true}) {
      const Tf32Mode mode(allowed);
      const double of_product = relative_error(matmul(a, b), product),
                   of_map = relative_error(conv2d(x, w, {}, same), map);
      for (const double error : {of_product, of_map}) {
        EXPECT_LE(error, allowed ? 1e-3 : 1e-5);
        EXPECT_GE(error, allowed ? 2e-5 : 0);
      }
    }
    EXPECT_EQ(emulation::cudnn_runs(), before + 2);
  });
}

TEST(CudaLibraries, AWorkspaceMustBeThere) {
  const Tensor t = Tensor::empty({100}, DType::kU8, Device::cuda());
  EXPECT_EQ((emulation::LibraryWorkspace{t.raw(), 100, 100}.fault()), "");
  EXPECT_NE((emulation::LibraryWorkspace{t.raw(), 101, 100}.fault()), "");
  EXPECT_NE((emulation::LibraryWorkspace{t.raw(), 99, 100}.fault()), "");
  EXPECT_NE((emulation::LibraryWorkspace{nullptr, 1, 1}.fault()), "");
}

// ---- convolutions ----

struct Layer {
  Shape x, weight;
  Conv2dOptions options;
};
// The kinds of layers of a ResNet with a pyramid and its heads, of small and odd sizes.
const std::vector<Layer> kLayers{
    {{2, 3, 19, 22}, {8, 3, 7, 7}, {.stride = {2, 2}, .padding = {3, 3}, .relu = true}},  // stem
    {{1, 8, 5, 7}, {16, 8, 1, 1}, {.relu = true}},
    {{2, 8, 9, 8}, {8, 8, 3, 3}, {.stride = {2, 2}, .padding = {1, 1}, .relu = true}},
    {{1, 8, 7, 8}, {16, 8, 1, 1}, {.stride = {2, 2}}},                      // shortcut
    {{1, 8, 9, 9}, {8, 8, 3, 3}, {.padding = {2, 2}, .dilation = {2, 2}}},  // dilated res5
    {{3, 5, 4, 4}, {7, 5, 3, 3}, {.padding = {1, 1}}},                      // odd channels
    {{2, 3, 16, 32}, {24, 3, 16, 16}, {.stride = {16, 16}}},                // patches
    {{1, 4, 5, 6}, {3, 4, 2, 3}, {.stride = {1, 2}, .padding = {0, 1}}},
};

struct Results {
  Tensor y, grad_x, grad_weight, grad_bias;
};
Results convolved(Tensor x, Tensor weight, Tensor bias, const Conv2dOptions& options, const Tensor& seed) {
  for (Tensor* t : {&x, &weight, &bias})
    if (t->defined()) set_requires_grad(*t);
  const Tensor y = conv2d(x, weight, bias, options);
  backward(y, seed);
  return {y.detach(), grad(x), grad(weight), bias.defined() ? grad(bias) : Tensor{}};
}

void check_layers(bool biased) {
  for (const Layer& layer : kLayers)
    for (const DType dtype : kOfLibraries) {
      SCOPED_TRACE(to_string(dtype) + " " + to_string(layer.x) + " " + to_string(layer.weight));
      const Tensor x = to_channels_last(values(layer.x, dtype, 0)), weight = values(layer.weight, dtype, 1),
                   bias = biased ? values({layer.weight[0]}, dtype, 2) : Tensor{};
      const Shape y{layer.x[0], layer.weight[0], conv2d_size(layer.x[2], layer.weight[2], layer.options, 0),
                    conv2d_size(layer.x[3], layer.weight[3], layer.options, 1)};
      const Tensor seed = values(y, dtype, 3);
      const Results got = convolved(x, weight, bias, layer.options, seed);
      const Results expected =
          convolved(wide(x), wide(weight), biased ? wide(bias) : Tensor{}, layer.options, wide(seed));
      const std::int64_t terms = layer.weight.numel() / layer.weight[0];
      EXPECT_LE(relative_error(got.y, expected.y), limit(dtype, terms));
      // A rounded result may be zero where the exact one is not, and then has no gradient.
      if (layer.options.relu && dtype != DType::kF32) continue;
      EXPECT_LE(relative_error(got.grad_x, expected.grad_x), limit(dtype, layer.weight.numel()));
      EXPECT_LE(relative_error(got.grad_weight, expected.grad_weight), limit(dtype, y.numel()));
      if (!biased) continue;
      EXPECT_LE(relative_error(got.grad_bias, expected.grad_bias), limit(dtype, y.numel()));
    }
}

TEST(CudaLibraries, ConvolutionsOfADetector) {
  const int before = emulation::cudnn_runs();
  with_cudnn(Cudnn::kAll, [] { check_layers(true); });
  // A pass forward, two back, for each layer and dtype.
  EXPECT_EQ(emulation::cudnn_runs() - before, static_cast<int>(3 * kLayers.size() * kOfLibraries.size()));
  with_cudnn(Cudnn::kAll, [] { check_layers(false); });
}
TEST(CudaLibraries, ConvolutionsWithoutFusion) {
  with_cudnn(Cudnn::kSingle, [] { check_layers(true); });
}
TEST(CudaLibraries, ConvolutionsWithoutCudnn) {
  const int before = emulation::cudnn_runs();
  with_cudnn(Cudnn::kNone, [] { check_layers(true); });
  EXPECT_EQ(emulation::cudnn_runs(), before);
}

TEST(CudaLibraries, AConvolutionThatAdds) {
  with_cudnn(Cudnn::kAll, [] {
    const NoGrad no_grad;
    for (const DType dtype : kOfLibraries) {
      const Tensor x = to_channels_last(values({2, 8, 5, 5}, dtype, 0)), weight = values({8, 8, 1, 1}, dtype, 1),
                   bias = values({8}, dtype, 2);
      Tensor y = to_channels_last(values({2, 8, 5, 5}, dtype, 3)), expected = to_channels_last(wide(y));
      conv2d_add_into(y, x, weight, bias, {.relu = true});
      conv2d_add_into(expected, to_channels_last(wide(x)), wide(weight), wide(bias), {.relu = true});
      EXPECT_LE(relative_error(y, expected), 2 * limit(dtype, 9));  // rounded twice: the branch, then the sum
    }
  });
}

// A 3 x 3 convolution of a map of 6 x 6 and what cuDNN is told of it.
bool noticed_in_convolution(
    const std::function<void(Tensor& x, Tensor& kernel, cuda::DnnConvolution& o, bool& relu)>& plant) {
  const NoGrad no_grad;
  Tensor x = to_channels_last(values({1, 8, 6, 6}, DType::kF32, 0));
  const Tensor weight = values({8, 8, 3, 3}, DType::kF32, 1), bias = values({8}, DType::kF32, 2);
  const Tensor expected = conv2d(wide(x), wide(weight), wide(bias), {.padding = {1, 1}, .relu = true});
  Tensor kernel = weight.permute({0, 2, 3, 1}).contiguous();
  Tensor out = empty_channels_last({1, 8, 6, 6}, DType::kF32, Device::cuda());
  cuda::DnnConvolution options{.padding = {1, 1}};
  bool relu = true;
  plant(x, kernel, options, relu);
  try {
    const cuda::Queue queue("planted", Device::cuda());
    if (!dnn_convolution(queue, x, kernel, bias, options, relu, out)) return true;
  } catch (const Error&) {
    return true;
  }
  return relative_error(out, expected) > 1e-3;
}

TEST(CudaLibraries, FaultsOfAConvolutionAreNoticed) {
  with_cudnn(Cudnn::kAll, [] {
    using O = cuda::DnnConvolution;
    EXPECT_FALSE(noticed_in_convolution([](Tensor&, Tensor&, O&, bool&) {}));
    EXPECT_TRUE(noticed_in_convolution([](Tensor& x, Tensor&, O&, bool&) { x = x.contiguous(); })) << "map's order";
    EXPECT_TRUE(noticed_in_convolution([](Tensor&, Tensor& k, O&, bool&) {
      k = k.permute({0, 3, 1, 2}).contiguous().permute({0, 2, 3, 1});
    })) << "kernel's order";
    EXPECT_TRUE(noticed_in_convolution([](Tensor&, Tensor&, O&, bool& relu) { relu = false; })) << "ReLU";
    EXPECT_TRUE(noticed_in_convolution([](Tensor&, Tensor&, O& o, bool&) { o.padding = {0, 1}; })) << "padding";
    EXPECT_TRUE(noticed_in_convolution([](Tensor&, Tensor&, O& o, bool&) { o.padding = {2, 2}, o.dilation = {2, 2}; }));
    EXPECT_TRUE(noticed_in_convolution([](Tensor&, Tensor&, O& o, bool&) { o.stride = {2, 2}; })) << "stride";
    EXPECT_TRUE(noticed_in_convolution([](Tensor& x, Tensor&, O&, bool&) {
      x = to_channels_last(values({1, 8, 6, 5}, DType::kF32, 0));
    })) << "a smaller map";
  });
}

// ---- attention ----

// q, k and v as views of one [N, L, 3, H, D], as models make them.
Tensors packed(std::int64_t n, std::int64_t length, std::int64_t heads, std::int64_t width, DType dtype) {
  const Tensor qkv = values({n, length, 3, heads, width}, dtype, 0, 2).permute({2, 0, 3, 1, 4});
  return {qkv.select(0, 0), qkv.select(0, 1), qkv.select(0, 2)};
}

TEST(CudaLibraries, AttentionOfViTs) {
  with_cudnn(Cudnn::kAll, [] {
    const NoGrad no_grad;
    const int before = emulation::cudnn_runs();
    int calls = 0;
    for (const DType dtype : kHalves)
      for (const auto& [n, length, heads, width] :
           {std::array<std::int64_t, 4>{2, 64, 2, 64}, {1, 197, 1, 64}, {1, 67, 3, 8}, {1, 65, 1, 128}}) {
        const Tensors in = packed(n, length, heads, width, dtype);
        EXPECT_LE(relative_error(attention(in[0], in[1], in[2]), attention(wide(in[0]), wide(in[1]), wide(in[2]))),
                  limit(dtype, length + 4 * width))
            << length << " " << width << " " << to_string(dtype);
        ++calls;
      }
    EXPECT_EQ(emulation::cudnn_runs() - before, calls);
    // Other lengths of queries and keys, dense; and what cuDNN is not asked for.
    const Tensor q = values({1, 2, 70, 16}, DType::kBF16, 0), k = values({1, 2, 99, 16}, DType::kBF16, 1);
    EXPECT_LE(relative_error(attention(q, k, k), attention(wide(q), wide(k), wide(k))), limit(DType::kBF16, 200));
    EXPECT_EQ(emulation::cudnn_runs() - before, calls + 1);
    const Tensors odd = packed(1, 70, 1, 20, DType::kF16), few = packed(1, 63, 1, 16, DType::kF16);
    for (const Tensors* in : {&odd, &few})
      EXPECT_LE(relative_error(attention((*in)[0], (*in)[1], (*in)[2]),
                               attention(wide((*in)[0]), wide((*in)[1]), wide((*in)[2]))),
                limit(DType::kF16, 200));
    EXPECT_EQ(emulation::cudnn_runs() - before, calls + 1);
  });
}

// The sums that cuDNN gives with a training's forward pass are those that our backward kernels take.
TEST(CudaLibraries, GradientsOfAttention) {
  with_cudnn(Cudnn::kAll, [] {
    for (const DType dtype : kHalves) {
      const auto gradients = [&](bool on_cpu) {
        Tensors in;
        for (std::uint64_t i = 0; i < 4; ++i) {
          const Tensor t = values({1, 2, 66, 16}, dtype, i);
          in.push_back(on_cpu ? wide(t) : t);
        }
        for (std::size_t i = 0; i < 3; ++i) set_requires_grad(in[i]);
        backward(attention(in[0], in[1], in[2]), in[3]);
        return Tensors{grad(in[0]), grad(in[1]), grad(in[2])};
      };
      const int before = emulation::cudnn_runs();
      const Tensors got = gradients(false), expected = gradients(true);
      EXPECT_EQ(emulation::cudnn_runs(), before + 1);
      // The result is rounded before the backward pass takes its dot products with it.
      for (std::size_t i = 0; i < 3; ++i)
        EXPECT_LE(relative_error(got[i], expected[i]), 4 * limit(dtype, 66)) << i << " " << to_string(dtype);
    }
  });
}

TEST(CudaLibraries, FaultsOfAnAttentionAreNoticed) {
  with_cudnn(Cudnn::kAll, [] {
    const NoGrad no_grad;
    const Tensors in = packed(1, 66, 2, 16, DType::kF16);
    const Tensor expected = attention(wide(in[0]), wide(in[1]), wide(in[2]));
    const auto off = [&](const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
      Tensor out = Tensor::empty({1, 2, 66, 16}, DType::kF16, Device::cuda()), none;
      try {
        const cuda::Queue queue("planted", Device::cuda());
        if (!dnn_attention(queue, q, k, v, scale, out, none)) return true;
      } catch (const Error&) {
        return true;
      }
      return relative_error(out, expected) > 0.01;
    };
    EXPECT_FALSE(off(in[0], in[1], in[2], 0.25));
    EXPECT_TRUE(off(in[0], in[1], in[2], 0.5)) << "scale";
    EXPECT_TRUE(off(in[1], in[0], in[2], 0.25)) << "queries and keys";
    EXPECT_TRUE(off(in[0], in[1], in[1], 0.25)) << "values";
    EXPECT_TRUE(off(in[0], in[1].slice(2, 0, 65), in[2].slice(2, 0, 65), 0.25)) << "a key too few";
  });
}

}  // namespace
}  // namespace usol::test
