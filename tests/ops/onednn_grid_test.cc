// Every call of ours that oneDNN may compute, over a grid of sizes, layouts and options, each element against the sum
// of the definition in f64. Builds without oneDNN run the same grid on their own kernels, and builds with it run both.
// A version of the library that computes something wrongly shows here; ops/onednn_limits.cc then keeps it from it.
//
// The bound is the textbook one. A sum of n terms in f32, in any order, errs by at most (n + 2) 2^-24 sum|term|; f16
// and bf16 results are rounded once more, by half a unit of their last place (2^-11, 2^-8); a transposed convolution of
// bf16 is rounded before its bias is added, too.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>
#include <string>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/conv_transpose2d.h"
#include "usol/ops/gemm.h"
#include "usol/ops/linear.h"
#include "usol/ops/matmul.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

// The sum that an element of a result is, the sum of its terms' magnitudes, and their number.
struct Sum {
  double value = 0, magnitude = 0;
  std::int64_t terms = 0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
    ++terms;
  }
};

double rounding_of(DType dtype) {
  return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : dtype == DType::kF32 ? 0x1p-24 : 0x1p-53;
}

double bound(const Sum& sum, DType dtype, double rounded_before = 0) {
  constexpr double kSmallestF16 = 0x1p-24;  // below the normal numbers its rounding is absolute
  return 0x1p-24 * static_cast<double>(sum.terms + 2) * sum.magnitude +
         rounding_of(dtype) * 1.01 * (std::abs(sum.value) + rounded_before) + kSmallestF16;
}

// Compares elements, and reports the first that is off and how many are.
class Check {
 public:
  explicit Check(std::string what) : what_(std::move(what)) {}
  void element(const Sum& sum, double got, DType dtype, Activation activation = Activation::kNone,
               double rounded_before = 0) {
    Sum want = sum;
    double slack = 1;
    if (activation == Activation::kRelu) want.value = std::max(0.0, sum.value);
    if (activation == Activation::kGelu) {
      want.value = 0.5 * sum.value * (1 + std::erf(sum.value / std::numbers::sqrt2));
      slack = 1.13;                                              // its largest slope
      want.magnitude += 4 * std::max(1.0, std::abs(sum.value));  // its own error: 1.5e-7 max(1, |x|) for f32
    }
    const double error = std::abs(got - want.value);
    const double most = slack * bound(want, dtype, rounded_before);
    if (error <= most) return;
    if (bad_++ == 0)
      ADD_FAILURE() << what_ << ": expected " << want.value << ", got " << got << " (off by " << error << ", bound "
                    << most << ")";
  }
  ~Check() {
    if (bad_ > 1) ADD_FAILURE() << what_ << ": " << bad_ << " elements in all";
  }

 private:
  std::string what_;
  int bad_ = 0;
};

// Fixed pseudo-random choices.
class Choices {
 public:
  explicit Choices(std::uint64_t stream) : generator_(2024, stream) {}
  std::int64_t of(std::initializer_list<std::int64_t> values) {
    return values.begin()[generator_.next_word() % values.size()];
  }
  bool coin() { return of({0, 1}) == 1; }
  template <class T>
  T number() {
    return T(static_cast<float>(generator_.uniform(-1, 1)));
  }
  Tensor tensor(const Shape& shape, DType dtype) {
    Tensor t = Tensor::empty(shape, DType::kF32);
    float* data = t.mutable_data<float>();
    for (std::int64_t i = 0; i < t.numel(); ++i) data[i] = number<float>();
    return t.to(dtype);
  }

 private:
  Generator generator_;
};

std::vector<double> numbers(const Tensor& t) { return t.detach().contiguous().to(DType::kF64).to_vector<double>(); }

// Runs `grid` on every backend that the build has.
template <class F>
void on_backends(F&& grid) {
  const GemmBackend before = gemm_backend();
  for (const GemmBackend backend : {GemmBackend::kOneDnn, GemmBackend::kEigen}) {
    if (!has_backend(backend)) continue;
    SCOPED_TRACE(backend == GemmBackend::kOneDnn ? "oneDNN" : "Eigen");
    set_gemm_backend(backend);
    grid();
  }
  set_gemm_backend(before);
}

// ---- products -------------------------------------------------------------------------------------------------------

struct Product {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  std::int64_t gap_a, gap_b, gap_c;  // what the leading dimensions are larger than needed
  bool accumulate, bias;
  Activation activation;
};

template <class T>
void check_product(const Product& p, Choices& random) {
  constexpr float kGap = 77;
  const std::int64_t lda = (p.transpose_a ? p.m : p.k) + p.gap_a, ldb = (p.transpose_b ? p.k : p.n) + p.gap_b,
                     ldc = p.n + p.gap_c;
  const auto filled = [](std::int64_t count) { return std::vector<T>(static_cast<std::size_t>(count) + 16, T(kGap)); };
  std::vector<T> a = filled((p.transpose_a ? p.k : p.m) * lda), b = filled((p.transpose_b ? p.n : p.k) * ldb),
                 c = filled(p.m * ldc), bias = filled(p.n);
  const auto at_a = [&](std::int64_t i, std::int64_t x) -> T& {
    return a[static_cast<std::size_t>(p.transpose_a ? x * lda + i : i * lda + x)];
  };
  const auto at_b = [&](std::int64_t x, std::int64_t j) -> T& {
    return b[static_cast<std::size_t>(p.transpose_b ? j * ldb + x : x * ldb + j)];
  };
  const auto at_c = [&](std::int64_t i, std::int64_t j) -> T& { return c[static_cast<std::size_t>(i * ldc + j)]; };
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t x = 0; x < p.k; ++x) at_a(i, x) = random.number<T>();
  for (std::int64_t x = 0; x < p.k; ++x)
    for (std::int64_t j = 0; j < p.n; ++j) at_b(x, j) = random.number<T>();
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t j = 0; j < p.n; ++j) at_c(i, j) = random.number<T>();
  for (std::int64_t j = 0; j < p.n; ++j) bias[static_cast<std::size_t>(j)] = random.number<T>();
  std::vector<Sum> sums(static_cast<std::size_t>(p.m * p.n));
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t j = 0; j < p.n; ++j) {
      Sum& sum = sums[static_cast<std::size_t>(i * p.n + j)];
      if (p.accumulate) sum.add(at_c(i, j));
      if (p.bias) sum.add(bias[static_cast<std::size_t>(j)]);
      for (std::int64_t x = 0; x < p.k; ++x) sum.add(static_cast<double>(at_a(i, x)) * static_cast<double>(at_b(x, j)));
    }
  gemm(Gemm<T>{p.transpose_a, p.transpose_b, p.m, p.n, p.k, a.data(), lda, b.data(), ldb, c.data(), ldc, p.accumulate,
               p.bias ? bias.data() : nullptr, p.activation});
  Check check("gemm of " + std::string(name_of(dtype_of<T>)) + ", m n k " + std::to_string(p.m) + " " +
              std::to_string(p.n) + " " + std::to_string(p.k) + ", transposed " + std::to_string(p.transpose_a) +
              std::to_string(p.transpose_b) + ", gaps " + std::to_string(p.gap_a) + " " + std::to_string(p.gap_b) +
              " " + std::to_string(p.gap_c) + ", accumulate " + std::to_string(p.accumulate) + ", bias " +
              std::to_string(p.bias) + ", activation " + std::to_string(static_cast<int>(p.activation)));
  int overwritten = 0;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(c.size()); ++i) {
    const bool inside = i < p.m * ldc && i % ldc < p.n;
    if (inside)
      check.element(sums[static_cast<std::size_t>(i / ldc * p.n + i % ldc)], c[static_cast<std::size_t>(i)],
                    dtype_of<T>, p.activation);
    else
      overwritten += c[static_cast<std::size_t>(i)] != T(kGap);
  }
  EXPECT_EQ(overwritten, 0) << "wrote between or behind the rows of C";
}

// f16 is widened to f32 on every CPU, so that a part of the cases says enough of it. So does Eigen with bf16.
void check_product(const Product& p, Choices& random) {
  check_product<float>(p, random);
  const bool sometimes = random.of({0, 0, 0, 1}) == 1;
  if (sometimes || gemm_backend() == GemmBackend::kOneDnn) check_product<bf16>(p, random);
  if (sometimes) check_product<f16>(p, random);
}

// All m, n, k and transpositions; the rest drawn.
TEST(OneDnnGrid, ProductsOfAllSizes) {
  on_backends([] {
    Choices random(1);
    for (const std::int64_t m : {0, 1, 2, 3, 17, 33, 65})
      for (const std::int64_t n : {0, 1, 2, 3, 17, 33, 65})
        for (const std::int64_t k : {0, 1, 2, 3, 17, 33, 65})
          for (const bool transpose_a : {false, true})
            for (const bool transpose_b : {false, true})
              check_product({m, n, k, transpose_a, transpose_b, random.of({0, 0, 1, 3, 16}),
                             random.of({0, 0, 1, 3, 16}), random.of({0, 0, 1, 3, 16}), random.coin(), random.coin(),
                             static_cast<Activation>(random.of({0, 0, 1}))},
                            random);
  });
}

// All layouts and options, where a dimension is 1 or all are small.
TEST(OneDnnGrid, ProductsOfAllLayouts) {
  on_backends([] {
    Choices random(2);
    const auto flag = [](int bits, int i) { return (bits >> i & 1) == 1; };
    for (const std::int64_t m : {1, 2, 9})
      for (const std::int64_t n : {1, 2, 9})
        for (const std::int64_t k : {1, 2, 9})
          for (int bits = 0; bits < 128; ++bits)
            check_product({m, n, k, flag(bits, 0), flag(bits, 1), flag(bits, 2) ? 1 : 0, flag(bits, 3) ? 3 : 0,
                           flag(bits, 4) ? 2 : 0, flag(bits, 5), flag(bits, 6), static_cast<Activation>(bits % 3)},
                          random);
  });
}

// Longer sums and rows than registers and tiles hold, with the gaps that vector instructions like to read across.
TEST(OneDnnGrid, ProductsOfDrawnSizes) {
  on_backends([] {
    Choices random(3);
    for (int i = 0; i < 60; ++i)
      check_product({random.of({1, 5, 16, 20, 48, 100}), random.of({1, 7, 16, 31, 64, 108}),
                     random.of({1, 4, 31, 32, 36, 64, 130, 257}), random.coin(), random.coin(),
                     random.of({0, 1, 4, 28, 64}), random.of({0, 1, 4, 28, 64}), random.of({0, 1, 4, 28}),
                     random.coin(), random.coin(), static_cast<Activation>(random.of({0, 1, 2}))},
                    random);
  });
}

// A view of `shape` with gaps between its elements or rows, or its last two dimensions' memory order exchanged.
Tensor view(const Shape& shape, DType dtype, Choices& random) {
  Shape wide = shape;
  const bool swap = random.coin();
  if (swap) std::swap(wide[-1], wide[-2]);
  const std::int64_t step = random.of({1, 1, 2}), extra = random.of({0, 0, 3});
  const std::int64_t length = wide[-1];
  wide[-1] = length * step + extra;
  Tensor t = random.tensor(wide, dtype).slice(-1, 0, (length - 1) * step + 1, step);
  return swap ? t.transpose(-2, -1) : t;
}

TEST(OneDnnGrid, BatchedProductsOfViews) {
  on_backends([] {
    Choices random(4);
    const NoGrad no_grad;
    for (int i = 0; i < 300; ++i) {
      const DType dtype = std::array{DType::kF32, DType::kBF16, DType::kF16}[static_cast<std::size_t>(i % 3)];
      const std::int64_t batch = random.of({1, 2, 3}), m = random.of({1, 2, 3, 17, 33}),
                         n = random.of({1, 2, 3, 17, 33}), k = random.of({1, 2, 3, 17, 33}),
                         shared = random.of({1, batch});
      const Tensor a = view({batch, m, k}, dtype, random), b = view({shared, k, n}, dtype, random);
      const auto va = numbers(a), vb = numbers(b), got = numbers(matmul(a, b));
      Check check("matmul of " + std::string(name_of(dtype)) + ", " + to_string(a.shape()) + " with strides " +
                  to_string(a.strides()) + " times " + to_string(b.shape()) + " with strides " +
                  to_string(b.strides()));
      for (std::int64_t e = 0; e < batch * m * n; ++e) {
        const std::int64_t row = e / n, block = row / m % shared;
        Sum sum;
        for (std::int64_t x = 0; x < k; ++x)
          sum.add(va[static_cast<std::size_t>(row * k + x)] *
                  vb[static_cast<std::size_t>((block * k + x) * n + e % n)]);
        check.element(sum, got[static_cast<std::size_t>(e)], dtype);
      }
    }
  });
}

// Inference of f32 takes a convolution of 1 x 1, recording takes products; gradients are products, too.
TEST(OneDnnGrid, Linear) {
  on_backends([] {
    Choices random(5);
    int count = 0;
    for (const std::int64_t rows : {1, 2, 17, 33})
      for (const std::int64_t in : {1, 2, 3, 17, 33})
        for (const std::int64_t out : {1, 2, 3, 17, 33}) {
          const DType dtype = std::array{DType::kF32, DType::kBF16, DType::kF16}[static_cast<std::size_t>(count++ % 3)];
          const auto activation = static_cast<Activation>(random.of({0, 1, 2}));
          Tensor x = random.tensor({rows, in}, dtype), w = random.tensor({out, in}, dtype);
          const Tensor bias = random.coin() ? random.tensor({out}, dtype) : Tensor(),
                       before = random.tensor({rows, out}, dtype), seed = random.tensor({rows, out}, dtype);
          const auto vx = numbers(x), vw = numbers(w), vseed = numbers(seed), vbefore = numbers(before);
          const auto vbias = bias.defined() ? numbers(bias) : std::vector<double>();
          const std::string what = "linear of " + std::string(name_of(dtype)) + ", rows in out " +
                                   std::to_string(rows) + " " + std::to_string(in) + " " + std::to_string(out) +
                                   ", bias " + std::to_string(bias.defined()) + ", activation " +
                                   std::to_string(static_cast<int>(activation));
          Tensor into = before.clone();
          std::vector<double> inferred, recorded;
          {
            const NoGrad no_grad;
            inferred = numbers(linear(x, w, bias, activation));
            linear_add_into(into, x, w, bias);
          }
          const auto added = numbers(into);
          set_requires_grad(x);
          set_requires_grad(w);
          const Tensor y = linear(x, w, bias);
          recorded = numbers(y);
          backward(y, seed);
          const auto gx = numbers(grad(x)), gw = numbers(grad(w));
          Check check(what);
          const auto at = [](const std::vector<double>& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; };
          for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t o = 0; o < out; ++o) {
              Sum sum;
              if (bias.defined()) sum.add(at(vbias, o));
              for (std::int64_t i = 0; i < in; ++i) sum.add(at(vx, r * in + i) * at(vw, o * in + i));
              check.element(sum, at(inferred, r * out + o), dtype, activation);
              check.element(sum, at(recorded, r * out + o), dtype);
              sum.add(at(vbefore, r * out + o));
              check.element(sum, at(added, r * out + o), dtype);
            }
          Check gradients(what + ", gradients");
          for (std::int64_t i = 0; i < in; ++i) {
            for (std::int64_t r = 0; r < rows; ++r) {
              Sum sum;
              for (std::int64_t o = 0; o < out; ++o) sum.add(at(vseed, r * out + o) * at(vw, o * in + i));
              gradients.element(sum, at(gx, r * in + i), dtype);
            }
            for (std::int64_t o = 0; o < out; ++o) {
              Sum sum;
              for (std::int64_t r = 0; r < rows; ++r) sum.add(at(vseed, r * out + o) * at(vx, r * in + i));
              gradients.element(sum, at(gw, o * in + i), dtype);
            }
          }
        }
  });
}

// ---- convolutions ---------------------------------------------------------------------------------------------------

// A convolution from x [N, C, H, W] to y [N, O, H', W'].
struct Convolution {
  std::int64_t n, c, h, w, o, kh, kw;
  Conv2dOptions options;

  std::int64_t out_h() const { return conv2d_size(h, kh, options, 0); }
  std::int64_t out_w() const { return conv2d_size(w, kw, options, 1); }
  Shape x() const { return {n, c, h, w}; }
  Shape y() const { return {n, o, out_h(), out_w()}; }
  Shape weight() const { return {o, c / options.groups, kh, kw}; }
  std::int64_t products() const { return y().numel() * weight().numel() / o; }
  bool fits() const { return out_h() > 0 && out_w() > 0; }
  std::string text() const {
    const auto pair = [](const std::array<std::int64_t, 2>& p) {
      return " " + std::to_string(p[0]) + "," + std::to_string(p[1]);
    };
    return "x " + to_string(x()) + ", weight " + to_string(weight()) + ", stride" + pair(options.stride) + ", padding" +
           pair(options.padding) + ", dilation" + pair(options.dilation) + ", groups " + std::to_string(options.groups);
  }

  // Calls f(x's element, weight's, y's) for every product of the definition; elements count in [N, C, H, W] order.
  template <class F>
  void each(F&& f) const {
    const std::int64_t group_c = c / options.groups, group_o = o / options.groups, hh = out_h(), ww = out_w();
    for (std::int64_t image = 0; image < n; ++image)
      for (std::int64_t to = 0; to < o; ++to)
        for (std::int64_t oh = 0; oh < hh; ++oh)
          for (std::int64_t ow = 0; ow < ww; ++ow)
            for (std::int64_t from = 0; from < group_c; ++from)
              for (std::int64_t i = 0; i < kh; ++i)
                for (std::int64_t j = 0; j < kw; ++j) {
                  const std::int64_t row = oh * options.stride[0] + i * options.dilation[0] - options.padding[0];
                  const std::int64_t col = ow * options.stride[1] + j * options.dilation[1] - options.padding[1];
                  if (row < 0 || row >= h || col < 0 || col >= w) continue;
                  f(((image * c + to / group_o * group_c + from) * h + row) * w + col,
                    ((to * group_c + from) * kh + i) * kw + j, ((image * o + to) * hh + oh) * ww + ow);
                }
  }
};

struct Drawn {  // what a case is computed on
  Tensor x, weight, y, x_bias, y_bias, y_before;
};

Drawn draw(const Convolution& conv, DType dtype, Choices& random) {
  const auto map = [&](const Shape& shape) {  // in either order of memory
    const Tensor t = random.tensor(shape, dtype);
    return random.coin() ? to_channels_last(t) : t;
  };
  return {map(conv.x()),
          random.tensor(conv.weight(), dtype),
          map(conv.y()),
          random.tensor({conv.c}, dtype),
          random.tensor({conv.o}, dtype),
          to_channels_last(random.tensor(conv.y(), dtype))};
}

// got = [relu] (sum of the terms that `conv.each` visits + bias of the channel + before), element by element.
// `rounded_twice`: before the bias is added, too.
template <class F>
void check_map(const std::string& what, const Convolution& conv, const Tensor& got, DType dtype, const Tensor& bias,
               const Tensor& before, bool relu, F&& add, bool rounded_twice = false) {
  const auto values = numbers(got);
  std::vector<Sum> sums(values.size());
  if (before.defined()) {
    const auto v = numbers(before);
    for (std::size_t i = 0; i < v.size(); ++i) sums[i].add(v[i]);
  }
  conv.each([&](std::int64_t ix, std::int64_t iw, std::int64_t iy) { add(sums, ix, iw, iy); });
  const auto biases = bias.defined() ? numbers(bias) : std::vector<double>();
  const auto pixels = static_cast<std::size_t>(got.size(2) * got.size(3));
  Check check(what);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double rounded_before = rounded_twice ? std::abs(sums[i].value) : 0;
    if (bias.defined()) sums[i].add(biases[i / pixels % biases.size()]);
    check.element(sums[i], values[i], dtype, relu ? Activation::kRelu : Activation::kNone, rounded_before);
  }
}

// The gradient that reaches the products: nothing where ReLU gave nothing.
std::vector<double> through(const Tensor& seed, const Tensor& result, bool relu) {
  auto values = numbers(seed);
  const auto y = numbers(result);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (relu && y[i] <= 0) values[i] = 0;
  return values;
}

void check_convolution(const Convolution& conv, DType dtype, Choices& random) {
  const Drawn in = draw(conv, dtype, random);
  Conv2dOptions options = conv.options;
  options.relu = random.coin();
  const Tensor bias = random.coin() ? in.y_bias : Tensor();
  const std::string what = std::string(name_of(dtype)) + ", " + conv.text() + ", relu " + std::to_string(options.relu) +
                           ", bias " + std::to_string(bias.defined());
  const auto vx = numbers(in.x), vw = numbers(in.weight);
  const auto forward = [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
    sums[static_cast<std::size_t>(iy)].add(vx[static_cast<std::size_t>(ix)] * vw[static_cast<std::size_t>(iw)]);
  };
  {
    const NoGrad no_grad;
    check_map("conv2d " + what, conv, conv2d(in.x, in.weight, bias, options), dtype, bias, {}, options.relu, forward);
    Tensor into = clone_like(in.y_before);
    conv2d_add_into(into, in.x, in.weight, bias, options);
    check_map("conv2d_add_into " + what, conv, into, dtype, bias, in.y_before, options.relu, forward);
  }
  Tensor x = in.x.clone(), weight = in.weight.clone();
  set_requires_grad(x);
  set_requires_grad(weight);
  const Tensor y = conv2d(x, weight, bias, options);
  backward(y, in.y);
  const auto g = through(in.y, y, options.relu);
  check_map(
      "gradient of x, " + what, conv, grad(x), dtype, {}, {}, false,
      [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
        sums[static_cast<std::size_t>(ix)].add(g[static_cast<std::size_t>(iy)] * vw[static_cast<std::size_t>(iw)]);
      });
  check_map(
      "gradient of the weight, " + what, conv, grad(weight), dtype, {}, {}, false,
      [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
        sums[static_cast<std::size_t>(iw)].add(g[static_cast<std::size_t>(iy)] * vx[static_cast<std::size_t>(ix)]);
      });
}

// The same products, from y to x.
void check_transposed(const Convolution& conv, DType dtype, Choices& random) {
  ConvTranspose2dOptions options;
  options.stride = conv.options.stride;
  options.padding = conv.options.padding;
  options.dilation = conv.options.dilation;
  options.groups = conv.options.groups;
  options.relu = random.coin();
  const std::array<std::int64_t, 2> size{conv.h, conv.w}, out{conv.out_h(), conv.out_w()}, kernel{conv.kh, conv.kw};
  for (std::size_t a = 0; a < 2; ++a)
    options.output_padding[a] = size[a] - ((out[a] - 1) * options.stride[a] - 2 * options.padding[a] +
                                           options.dilation[a] * (kernel[a] - 1) + 1);
  const Drawn in = draw(conv, dtype, random);
  const Tensor bias = random.coin() ? in.x_bias : Tensor();
  const std::string what = std::string(name_of(dtype)) + ", " + conv.text() + ", relu " + std::to_string(options.relu) +
                           ", bias " + std::to_string(bias.defined());
  const auto vy = numbers(in.y), vw = numbers(in.weight);
  Tensor y = in.y.clone(), weight = in.weight.clone();
  set_requires_grad(y);
  set_requires_grad(weight);
  const Tensor x = conv_transpose2d(y, weight, bias, options);
  check_map(
      "conv_transpose2d, as a gradient of " + what, conv, x, dtype, bias, {}, options.relu,
      [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
        sums[static_cast<std::size_t>(ix)].add(vy[static_cast<std::size_t>(iy)] * vw[static_cast<std::size_t>(iw)]);
      },
      dtype == DType::kBF16 && bias.defined());
  backward(x, in.x);
  const auto g = through(in.x, x, options.relu);
  check_map(
      "gradient of conv_transpose2d, " + what, conv, grad(y), dtype, {}, {}, false,
      [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
        sums[static_cast<std::size_t>(iy)].add(g[static_cast<std::size_t>(ix)] * vw[static_cast<std::size_t>(iw)]);
      });
  check_map(
      "gradient of conv_transpose2d's weight, " + what, conv, grad(weight), dtype, {}, {}, false,
      [&](std::vector<Sum>& sums, std::int64_t ix, std::int64_t iw, std::int64_t iy) {
        sums[static_cast<std::size_t>(iw)].add(g[static_cast<std::size_t>(ix)] * vy[static_cast<std::size_t>(iy)]);
      });
}

void check_both(const Convolution& conv, DType dtype, Choices& random) {
  check_convolution(conv, dtype, random);
  check_transposed(conv, dtype, random);
}

// What is known to be delicate, in all dtypes.
TEST(OneDnnGrid, ConvolutionsAtTheEdges) {
  const std::vector<Convolution> cases = {
      // One product.
      {1, 1, 1, 1, 1, 1, 1, {}},
      // 1-pixel maps.
      {2, 17, 1, 1, 33, 1, 1, {}},
      {2, 3, 1, 1, 5, 3, 3, {.padding = {1, 1}}},
      // Depthwise.
      {1, 4, 5, 4, 4, 3, 3, {.padding = {1, 1}, .groups = 4}},
      {1, 32, 7, 5, 32, 1, 3, {.stride = {2, 3}, .groups = 32}},
      {1, 16, 2, 1, 16, 3, 3, {.stride = {1, 2}, .padding = {1, 1}, .groups = 16}},
      // Several results per channel.
      {1, 4, 14, 2, 8, 3, 3, {.stride = {3, 3}, .padding = {1, 1}, .groups = 4}},
      // Strided 1 x 1 of few channels.
      {1, 4, 9, 9, 8, 1, 1, {.stride = {2, 2}}},
      {1, 5, 7, 9, 20, 1, 1, {.stride = {1, 3}}},
      // Results of one column.
      {1, 3, 14, 5, 33, 3, 3, {.stride = {2, 3}}},
      {1, 5, 7, 1, 8, 3, 3, {.stride = {1, 3}, .padding = {0, 2}}},
      {1, 1, 5, 5, 3, 3, 3, {.stride = {1, 3}}},
      {1, 1, 14, 7, 5, 3, 3, {.stride = {3, 3}, .padding = {2, 0}, .dilation = {2, 2}}},
      {3, 1, 7, 5, 3, 5, 5, {.stride = {1, 2}, .padding = {2, 0}}},
      // Results of one row.
      {1, 5, 5, 14, 33, 3, 3, {.stride = {3, 2}}},
      // More channels than a vector holds.
      {3, 33, 5, 2, 3, 2, 3, {.padding = {2, 1}, .dilation = {3, 1}}},
      {2, 33, 1, 1, 17, 3, 3, {.stride = {2, 2}, .padding = {1, 1}}},
      {1, 33, 5, 9, 1, 1, 1, {}},
      {3, 66, 5, 16, 16, 2, 2, {.padding = {0, 1}, .dilation = {3, 2}, .groups = 2}},
      // Results that see padding only.
      {2, 2, 7, 5, 2, 1, 1, {.stride = {1, 2}, .padding = {3, 0}, .dilation = {2, 2}}},
      {1, 3, 14, 7, 1, 1, 5, {.stride = {2, 2}, .padding = {2, 2}, .dilation = {2, 1}}},
      {3, 17, 5, 9, 1, 1, 3, {.stride = {3, 3}, .padding = {1, 1}, .dilation = {2, 2}}},
      // Results whose taps step over the map.
      {2, 64, 1, 7, 1, 2, 2, {.padding = {2, 2}, .dilation = {3, 3}}},
      {2, 10, 5, 1, 2, 3, 1, {.stride = {1, 2}, .padding = {1, 1}, .dilation = {3, 3}, .groups = 2}}};
  on_backends([&] {
    Choices random(6);
    for (const Convolution& conv : cases)
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
        if (dtype == DType::kF32 || gemm_backend() == GemmBackend::kOneDnn) check_both(conv, dtype, random);
  });
}

TEST(OneDnnGrid, ConvolutionsOfDrawnSizes) {
  on_backends([] {
    Choices random(7);
    const int cases = gemm_backend() == GemmBackend::kOneDnn ? 80 : 25;
    for (int count = 0; count < cases;) {
      const std::int64_t kind = random.of({0, 1, 2, 3});  // dense twice, groups, depthwise
      const std::int64_t groups = kind < 2 ? 1 : kind == 2 ? random.of({2, 3}) : random.of({2, 4, 16, 17});
      const std::int64_t group_c = kind == 3 ? 1 : random.of({1, 2, 3, 5, 8, 16, 17, 33}),
                         group_o = kind == 3 ? random.of({1, 1, 2}) : random.of({1, 2, 3, 5, 8, 16, 17, 33});
      Convolution conv{
          random.of({1, 1, 2}), groups * group_c,           random.of({1, 2, 5, 7, 9}), random.of({1, 2, 5, 7, 9}),
          groups * group_o,     random.of({1, 2, 3, 3, 5}), random.of({1, 2, 3, 3, 5}), {}};
      conv.options.stride = {random.of({1, 1, 2, 3}), random.of({1, 1, 2, 3})};
      conv.options.padding = {random.of({0, 1, 2}), random.of({0, 1, 2})};
      conv.options.dilation = {random.of({1, 1, 2, 3}), random.of({1, 1, 2})};
      conv.options.groups = groups;
      if (!conv.fits() || conv.products() > 60'000) continue;
      const DType dtype =
          std::array{DType::kF32, DType::kBF16, DType::kF32, DType::kF16}[static_cast<std::size_t>(count++ % 4)];
      check_both(conv, dtype, random);
    }
  });
}

}  // namespace
}  // namespace usol::test
