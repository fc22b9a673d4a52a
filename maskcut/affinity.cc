// Cosines tile by tile, thresholded straight into bits: the n x n matrix of floats never exists.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/maskcut/affinity.cc"
#include <hwy/foreach_target.h>
// foreach_target comes first.
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "usol/maskcut/affinity.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Bit i of the result: values[i] > tau, or >= tau. 64 values.
HWY_ATTR std::uint64_t threshold_word(const float* values, float tau, bool inclusive) {
  const hn::CappedTag<float, 16> d;
  const auto limit = hn::Set(d, tau);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 64; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, values + i);
    std::uint8_t mask[8] = {};
    hn::StoreMaskBits(d, inclusive ? hn::Ge(v, limit) : hn::Gt(v, limit), mask);
    std::uint64_t word;
    std::memcpy(&word, mask, 8);
    bits |= word << i;
  }
  return bits;
}

}  // namespace usol::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol::maskcut {

constinit Kernel<void(const Tensor&, Tensor&, Tensor&)> unit_columns_kernel{"unit_columns"};
constinit Kernel<void(const Tensor&, double, bool, Tensor&)> similar_pairs_kernel{"similar_pairs"};

namespace {

HWY_EXPORT(threshold_word);

// Rows of a panel. A panel of 3600 columns then takes 3.7 MB, and the product still has long rows to work on.
constexpr std::int64_t kPanelRows = 256;

BitMatrix similar_pairs(const Tensor& unit_features, const AffinityOptions& options) {
  check(unit_features.rank() == 2 && unit_features.dtype() == DType::kF32, "affinity: expected f32 [D, n], got {} {}",
        unit_features.dtype(), unit_features.shape());
  const Tensor features = unit_features.to(Device::cpu()).contiguous();
  const std::int64_t depth = features.size(0), n = features.size(1);
  BitMatrix bits(n);
  const float tau = static_cast<float>(options.tau);
  const float* unit = features.data<float>();
  std::vector<float> panel;
  for (std::int64_t first = 0; first < n; first += kPanelRows) {
    // Rows [first, first + rows), columns [first, n): the upper triangle and a little more.
    const std::int64_t rows = std::min(kPanelRows, n - first);
    const std::int64_t width = (n - first + 63) / 64 * 64;
    panel.resize(static_cast<std::size_t>(rows * width));
    Gemm<float> product;
    product.transpose_a = true;
    product.m = rows;
    product.n = n - first;
    product.k = depth;
    product.a = product.b = unit + first;
    product.lda = product.ldb = n;
    product.c = panel.data();
    product.ldc = width;
    gemm(product);
    parallel_for(0, rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        float* row = panel.data() + r * width;
        for (std::int64_t w = 0; w < width / 64; ++w) {
          std::uint64_t word = HWY_DYNAMIC_DISPATCH(threshold_word)(row + w * 64, tau, options.inclusive);
          const std::int64_t valid = n - first - w * 64;
          if (valid < 64) word &= (std::uint64_t{1} << valid) - 1;
          bits.set_word(first + r, first / 64 + w, word);
        }
      }
    });
  }
  bits.mirror_upper();
  return bits;
}

void similar_pairs_cpu(const Tensor& unit, double tau, bool inclusive, Tensor& bits) {
  auto* out = bits.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < unit.size(0); ++i) {
    const BitMatrix matrix = similar_pairs(unit.select(0, i), {.tau = tau, .inclusive = inclusive});
    std::memcpy(out, matrix.raw().data(), matrix.raw().size_bytes());
    out += matrix.raw().size();
  }
}

// Squared lengths of the columns of [depth, n] into `squares`, then the columns scaled by their reciprocals.
void unit_columns_of(const float* in, std::int64_t depth, std::int64_t n, float* out, double* squares) {
  parallel_for(0, n, 256, [&](std::int64_t first, std::int64_t last) {
    std::fill(squares + first, squares + last, 0.0);
    for (std::int64_t d = 0; d < depth; ++d)
      for (std::int64_t i = first; i < last; ++i) {
        const double v = in[d * n + i];
        squares[i] += v * v;
      }
    std::vector<double> factors(static_cast<std::size_t>(last - first));
    for (std::int64_t i = first; i < last; ++i)
      factors[static_cast<std::size_t>(i - first)] = 1 / std::max(std::sqrt(squares[i]), 1e-12);
    for (std::int64_t d = 0; d < depth; ++d)
      for (std::int64_t i = first; i < last; ++i)
        out[d * n + i] = static_cast<float>(in[d * n + i] * factors[static_cast<std::size_t>(i - first)]);
  });
}

void unit_columns_cpu(const Tensor& features, Tensor& unit, Tensor& squares) {
  const std::int64_t depth = features.size(1), n = features.size(2);
  for (std::int64_t i = 0; i < features.size(0); ++i)
    unit_columns_of(features.data<float>() + i * depth * n, depth, n, unit.mutable_data<float>() + i * depth * n,
                    squares.mutable_data<double>() + i * n);
}

// A sum of squares of finite floats cannot overflow a double.
void check_finite(const double* squares, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    check(std::isfinite(squares[i]), "normalize_features: patch {} has a feature that is not finite", i);
}

const Register r_unit(unit_columns_kernel, DeviceType::kCpu, unit_columns_cpu);
const Register r_pairs(similar_pairs_kernel, DeviceType::kCpu, similar_pairs_cpu);

}  // namespace

GraphBatch patch_graphs(const Tensor& features, const AffinityOptions& options) {
  check(features.rank() == 3 && features.dtype() == DType::kF32, "affinity: expected f32 [N, D, n], got {} {}",
        features.dtype(), features.shape());
  const std::int64_t count = features.size(0), n = features.size(2), words = (n + 63) / 64;
  const Device device = features.device();
  GraphBatch batch;
  batch.unit = Tensor::empty(features.shape(), DType::kF32, device);
  Tensor squares = Tensor::empty({count, n}, DType::kF64, device);
  unit_columns_kernel(device, features.contiguous(), batch.unit, squares);
  Tensor bits = Tensor::empty({count, words * 8, words, 8}, DType::kI64, device);
  similar_pairs_kernel(device, batch.unit, options.tau, options.inclusive, bits);
  const Tensor host_squares = squares.to(Device::cpu()), host_bits = bits.to(Device::cpu());
  batch.graphs.resize(static_cast<std::size_t>(count));
  batch.errors.resize(static_cast<std::size_t>(count));
  parallel_for_each(0, count, [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(i);
    try {
      check_finite(host_squares.data<double>() + i * n, n);
      const std::int64_t total = words * words * 64;
      const auto* raw = reinterpret_cast<const std::uint64_t*>(host_bits.data<std::int64_t>()) + i * total;
      batch.graphs[k].emplace(BitMatrix(n, {raw, static_cast<std::size_t>(total)}), options);
    } catch (...) {
      batch.errors[k] = std::current_exception();
    }
  });
  return batch;
}

PatchGraph::PatchGraph(const Tensor& unit_features, const AffinityOptions& options)
    : PatchGraph(similar_pairs(unit_features, options), options) {}

PatchGraph::PatchGraph(BitMatrix bits, const AffinityOptions& options) : options_(options), bits_(std::move(bits)) {
  check(options.eps > 0 && options.eps < 1, "affinity: expected 0 < eps < 1, got {}", options.eps);
  update_degrees();
}

void PatchGraph::update_degrees() {
  const std::vector<std::int64_t> counts = bits_.row_counts();
  degrees_.resize(counts.size());
  const double n = static_cast<double>(size());
  for (std::size_t i = 0; i < counts.size(); ++i)
    degrees_[i] = static_cast<double>(counts[i]) + eps() * (n - static_cast<double>(counts[i]));
}

void PatchGraph::paint_out(const std::vector<std::uint8_t>& marks) {
  const float tau = static_cast<float>(options_.tau);
  bits_.fill_rows_and_columns(marks, options_.inclusive ? 0.0f >= tau : 0.0f > tau);
  update_degrees();
}

double PatchGraph::ncut(const std::vector<std::uint8_t>& marks) const {
  check(static_cast<std::int64_t>(marks.size()) == size(), "ncut: expected {} marks, got {}", size(), marks.size());
  std::vector<std::uint64_t> inside(static_cast<std::size_t>(bits_.words()), 0);
  std::int64_t marked = 0;
  double inside_degree = 0, outside_degree = 0;
  for (std::size_t i = 0; i < marks.size(); ++i) {
    (marks[i] != 0 ? inside_degree : outside_degree) += degrees_[i];
    if (marks[i] == 0) continue;
    inside[i / 64] |= std::uint64_t{1} << (i % 64);
    ++marked;
  }
  if (marked == 0 || marked == size()) return 2;
  std::int64_t crossing = 0;
  for (std::int64_t i = 0; i < size(); ++i) {
    if (marks[static_cast<std::size_t>(i)] == 0) continue;
    for (std::int64_t w = 0; w < bits_.words(); ++w)
      crossing += std::popcount(bits_.word(i, w) & ~inside[static_cast<std::size_t>(w)]);
  }
  const double pairs = static_cast<double>(marked) * static_cast<double>(size() - marked);
  const double cut = static_cast<double>(crossing) + eps() * (pairs - static_cast<double>(crossing));
  return cut / inside_degree + cut / outside_degree;
}

Tensor PatchGraph::dense() const {
  const std::int64_t n = size();
  Tensor weights = Tensor::empty({n, n});
  float* out = weights.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) out[i * n + j] = bits_.get(i, j) ? 1.0f : static_cast<float>(eps());
  return weights;
}

Tensor normalize_features(const Tensor& features) {
  check(features.rank() == 2 && features.dtype() == DType::kF32, "normalize_features: expected f32 [D, n], got {} {}",
        features.dtype(), features.shape());
  const Tensor source = features.to(Device::cpu()).contiguous();
  const std::int64_t depth = source.size(0), n = source.size(1);
  Tensor unit = Tensor::empty({depth, n});
  std::vector<double> squares(static_cast<std::size_t>(n));
  unit_columns_of(source.data<float>(), depth, n, unit.mutable_data<float>(), squares.data());
  check_finite(squares.data(), n);
  return unit;
}

}  // namespace usol::maskcut
#endif  // HWY_ONCE
