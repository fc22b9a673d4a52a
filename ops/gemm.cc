#include "usol/ops/gemm.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numbers>
#include <type_traits>
#include <vector>

#include "usol/ops/gelu.h"
#include "usol/ops/gemm_eigen.h"
#include "usol/ops/onednn.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

#if defined(USOL_WITH_ONEDNN)
constexpr GemmBackend kDefault = GemmBackend::kOneDnn;
#else
constexpr GemmBackend kDefault = GemmBackend::kEigen;
#endif

std::atomic<GemmBackend> backend{kDefault};

template <class T>
void activate(T* row, std::int64_t n, Activation activation) {
  if (activation == Activation::kRelu) std::transform(row, row + n, row, [](T x) { return x > T(0) ? x : T(0); });
  if (activation != Activation::kGelu) return;
  if constexpr (std::is_same_v<T, float>)
    gelu_f32(row, row, n);
  else
    std::transform(row, row + n, row, [](T x) { return T(0.5) * x * (T(1) + std::erf(x / std::numbers::sqrt2_v<T>)); });
}

// Bias and activation as one more pass over C, for the paths whose product does not do them.
template <class T>
void finish(const Gemm<T>& g) {
  if (!g.bias && g.activation == Activation::kNone) return;
  parallel_for(0, g.m, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, g.n)),
               [&](std::int64_t first, std::int64_t end) {
                 for (std::int64_t i = first; i < end; ++i) {
                   T* row = g.c + i * g.ldc;
                   if (g.bias)
                     for (std::int64_t j = 0; j < g.n; ++j) row[j] += g.bias[j];
                   activate(row, g.n, g.activation);
                 }
               });
}

// 16-bit types without hardware products: widen, multiply in f32, round once.
template <class T>
void widened(const Gemm<T>& g) {
  const auto widen = [](const T* from, std::int64_t rows, std::int64_t cols, std::int64_t ld) {
    std::vector<float> to(static_cast<std::size_t>(rows * cols));
    parallel_for(0, rows, 64, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i)
        for (std::int64_t j = 0; j < cols; ++j) to[static_cast<std::size_t>(i * cols + j)] = from[i * ld + j];
    });
    return to;
  };
  const auto a = widen(g.a, g.transpose_a ? g.k : g.m, g.transpose_a ? g.m : g.k, g.lda);
  const auto b = widen(g.b, g.transpose_b ? g.n : g.k, g.transpose_b ? g.k : g.n, g.ldb);
  auto c = g.accumulate ? widen(g.c, g.m, g.n, g.ldc) : std::vector<float>(static_cast<std::size_t>(g.m * g.n));
  const auto bias = g.bias ? widen(g.bias, 1, g.n, g.n) : std::vector<float>();
  gemm(Gemm<float>{g.transpose_a, g.transpose_b, g.m, g.n, g.k, a.data(), g.transpose_a ? g.m : g.k, b.data(),
                   g.transpose_b ? g.k : g.n, c.data(), g.n, g.accumulate, g.bias ? bias.data() : nullptr,
                   g.activation});
  for (std::int64_t i = 0; i < g.m; ++i)
    for (std::int64_t j = 0; j < g.n; ++j) g.c[i * g.ldc + j] = T(c[static_cast<std::size_t>(i * g.n + j)]);
}

// Nothing to multiply: an empty result, or an empty inner dimension (the product is zero).
template <class T>
bool trivial(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return true;
  if (g.k > 0) return false;
  if constexpr (sizeof(T) == 2) {
    widened(g);  // bias and activation in f32
  } else {
    if (!g.accumulate)
      for (std::int64_t i = 0; i < g.m; ++i) std::fill_n(g.c + i * g.ldc, g.n, T(0));
    finish(g);
  }
  return true;
}

}  // namespace

bool has_backend(GemmBackend which) { return which == GemmBackend::kEigen || kDefault == GemmBackend::kOneDnn; }
GemmBackend gemm_backend() { return backend; }
bool onednn_multiplies_bf16_faster() {
#if defined(USOL_WITH_ONEDNN)
  static const bool has_amx = onednn_has_amx();
  return has_amx && gemm_backend() == GemmBackend::kOneDnn;
#else
  return false;
#endif
}
void set_gemm_backend(GemmBackend which) {
  check(has_backend(which), ErrorKind::kUnsupported, "gemm: this build has no oneDNN");
  backend = which;
}

const EigenGemm& eigen_gemm() {
#if defined(__x86_64__)
  static const EigenGemm best = [] {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      return eigen_gemm_v4();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return eigen_gemm_v3();
    check(__builtin_cpu_supports("sse4.2") > 0, ErrorKind::kUnsupported, "gemm: this CPU has no SSE4.2");
    return eigen_gemm_v2();
  }();
#else
  static const EigenGemm best = eigen_gemm_native();
#endif
  return best;
}

void gemm(const Gemm<float>& g) {
  if (trivial(g)) return;
#if defined(USOL_WITH_ONEDNN)
  if (backend == GemmBackend::kOneDnn && onednn_takes(g)) {
    if (g.activation != Activation::kGelu) return onednn_gemm(g);
    Gemm<float> product = g, rest = g;  // oneDNN's own GELU takes three times as long as a pass of ours
    product.activation = Activation::kNone;
    rest.bias = nullptr;
    onednn_gemm(product);
    return finish(rest);
  }
#endif
  eigen_gemm().f32(g);
  finish(g);
}

void gemm(const Gemm<double>& g) {
  if (trivial(g)) return;
  eigen_gemm().f64(g);
  finish(g);
}

void gemm(const Gemm<bf16>& g) {
  if (trivial(g)) return;
#if defined(USOL_WITH_ONEDNN)
  if (backend == GemmBackend::kOneDnn && onednn_has_bf16() && onednn_takes(g)) return onednn_gemm(g);
#endif
  widened(g);
}

void gemm(const Gemm<f16>& g) {
  if (trivial(g)) return;
  widened(g);
}

}  // namespace usol
