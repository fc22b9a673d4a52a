#include "usol/maskcut/bilateral_solver.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "usol/maskcut/components.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// Bits of x, y, Y, U and V in a cell's key, lowest first.
constexpr std::array<int, 5> kShift = {0, 16, 32, 42, 52};
constexpr std::int64_t kMaxSide = (1 << 16) - 1, kMaxLevels = (1 << 10) - 1;

// A colour's coordinates in YUV. Many greys lie exactly on the border of two cells, so the rounding matters: the sums
// are fused from left to right, as optimised matrix products do it, which the reference implementation relies on.
std::array<double, 3> yuv(const std::uint8_t* rgb) {
  constexpr double kRows[3][3] = {{0.299, 0.587, 0.114}, {-0.168736, -0.331264, 0.5}, {0.5, -0.418688, -0.081312}};
  std::array<double, 3> out{};
  for (std::size_t i = 0; i < 3; ++i) {
    const double* row = kRows[i];
    out[i] =
        std::fma(static_cast<double>(rgb[2]), row[2], std::fma(static_cast<double>(rgb[1]), row[1], rgb[0] * row[0]));
    if (i > 0) out[i] += 128.0;
  }
  return out;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// The components of the pixels above 0.5 after filling holes; `largest` is the label of the largest, the background
// counting as one, and `second` of the second largest (-1 without a foreground).
struct Ranked {
  Components components;
  std::int64_t largest = 0, second = -1;
};

Ranked rank_components(const Tensor& soft) {
  check(soft.defined() && soft.is_cpu() && soft.dtype() == DType::kF64 && soft.rank() == 2,
        "saliency mask: expected the solver's output as f64 [H, W], got {} {}",
        soft.defined() ? to_string(soft.dtype()) : "no tensor", soft.defined() ? to_string(soft.shape()) : "");
  const Tensor dense = soft.contiguous();
  const double* value = dense.data<double>();
  Tensor binary = Tensor::empty(soft.shape(), DType::kU8);
  std::uint8_t* b = binary.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < dense.numel(); ++i) b[i] = value[i] > 0.5;
  Ranked ranked{label_components(fill_holes(binary))};
  std::vector<std::int64_t> order(ranked.components.sizes.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t c) {
    return ranked.components.sizes[a] < ranked.components.sizes[c];
  });
  ranked.largest = order.back();
  if (order.size() > 1) ranked.second = order[order.size() - 2];
  return ranked;
}

template <class Keep>
Tensor mask_where(const Tensor& labels, Keep keep) {
  Tensor mask = Tensor::empty(labels.shape(), DType::kU8);
  std::uint8_t* m = mask.mutable_data<std::uint8_t>();
  const std::int32_t* label = labels.data<std::int32_t>();
  for (std::int64_t i = 0; i < labels.numel(); ++i) m[i] = keep(label[i]) ? 1 : 0;
  return mask;
}

}  // namespace

BilateralSolver::BilateralSolver(const Tensor& image, const BilateralSolverOptions& options) : options_(options) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3 &&
            image.numel() > 0,
        "bilateral solver: expected an image u8 [H, W, 3] on the CPU, got {} {}",
        image.defined() ? to_string(image.dtype()) : "no tensor", image.defined() ? to_string(image.shape()) : "");
  height_ = image.size(0);
  width_ = image.size(1);
  check(options.sigma_px > 0 && options.sigma_luma > 0 && options.sigma_chroma > 0,
        "bilateral solver: expected positive sigmas, got {}, {} and {}", options.sigma_px, options.sigma_luma,
        options.sigma_chroma);
  check(options.lambda >= 0 && options.confidence > 0 && options.diagonal_min > 0 && options.tolerance >= 0 &&
            options.iterations >= 0 && options.bistochastization_rounds >= 0,
        "bilateral solver: expected positive confidence and diagonal floor, and nothing negative");
  check(static_cast<double>(std::max(height_, width_)) / options.sigma_px < kMaxSide &&
            256 / std::min(options.sigma_luma, options.sigma_chroma) < kMaxLevels,
        "bilateral solver: sigmas of {}, {} and {} make too many grid cells", options.sigma_px, options.sigma_luma,
        options.sigma_chroma);

  // The grid cell of each pixel, and the occupied cells in order of their keys.
  const Tensor dense = image.contiguous();
  const std::uint8_t* rgb = dense.data<std::uint8_t>();
  std::vector<std::uint64_t> key;
  key.reserve(static_cast<std::size_t>(height_ * width_));
  for (std::int64_t y = 0; y < height_; ++y)
    for (std::int64_t x = 0; x < width_; ++x, rgb += 3) {
      const auto colour = yuv(rgb);
      const std::array<double, 5> at = {static_cast<double>(x) / options.sigma_px,
                                        static_cast<double>(y) / options.sigma_px, colour[0] / options.sigma_luma,
                                        colour[1] / options.sigma_chroma, colour[2] / options.sigma_chroma};
      std::uint64_t cell = 0;
      for (std::size_t i = 0; i < at.size(); ++i) cell |= static_cast<std::uint64_t>(at[i]) << kShift[i];
      key.push_back(cell);
    }
  std::vector<std::uint64_t> cells = key;
  std::sort(cells.begin(), cells.end());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  const std::size_t count = cells.size();
  count_.assign(count, 0.0);
  vertex_.reserve(key.size());
  for (const std::uint64_t cell : key) {
    vertex_.push_back(static_cast<std::int32_t>(std::lower_bound(cells.begin(), cells.end(), cell) - cells.begin()));
    ++count_[vertex_.back()];
  }
  neighbours_.resize(count);
  for (auto& row : neighbours_) row.fill(-1);
  for (std::size_t v = 0; v < count; ++v)
    for (std::size_t axis = 0; axis < kShift.size(); ++axis) {
      const std::uint64_t next = cells[v] + (std::uint64_t{1} << kShift[axis]);
      const auto found = std::lower_bound(cells.begin() + static_cast<std::ptrdiff_t>(v), cells.end(), next);
      if (found == cells.end() || *found != next) continue;
      const auto ahead = static_cast<std::size_t>(found - cells.begin());
      neighbours_[v][2 * axis + 1] = static_cast<std::int32_t>(ahead);
      neighbours_[ahead][2 * axis] = static_cast<std::int32_t>(v);
    }

  // Diagonals n and m with n B n 1 = m, close to the counts (Barron & Poole, algorithm 1).
  n_.assign(count, 1.0);
  m_.resize(count);
  std::vector<double> blurred(count);
  for (int round = 0; round < options.bistochastization_rounds; ++round) {
    blur(n_, blurred);
    for (std::size_t v = 0; v < count; ++v) n_[v] = std::sqrt(n_[v] * count_[v] / blurred[v]);
  }
  blur(n_, blurred);
  for (std::size_t v = 0; v < count; ++v) m_[v] = n_[v] * blurred[v];
}

// (1, 2, 1) along each axis, added up: 10 for the cell itself and 1 for each neighbour.
void BilateralSolver::blur(const std::vector<double>& x, std::vector<double>& out) const {
  for (std::size_t v = 0; v < x.size(); ++v) {
    double sum = 10 * x[v];
    for (const std::int32_t neighbour : neighbours_[v])
      if (neighbour >= 0) sum += x[neighbour];
    out[v] = sum;
  }
}

// Solves A y = b with A = lambda (diag(m) - diag(n) B diag(n)) + diag(w) over the cells by conjugate gradients with the
// diagonal as preconditioner, from the mean target of each cell.
Tensor BilateralSolver::solve(const Tensor& target) const {
  check(target.defined() && target.is_cpu() && (is_floating(target.dtype()) || target.dtype() == DType::kU8) &&
            target.shape() == Shape{height_, width_},
        "bilateral solver: expected a target [{}, {}] of floating dtype or u8 on the CPU, got {} {}", height_, width_,
        target.defined() ? to_string(target.dtype()) : "no tensor", target.defined() ? to_string(target.shape()) : "");
  const Tensor wide = target.to(DType::kF64).contiguous();
  const double* value = wide.data<double>();
  const std::size_t count = count_.size();
  std::vector<double> b(count), y(count), r(count), z(count), p(count), q(count), scaled(count), diagonal(count);
  for (std::size_t i = 0; i < vertex_.size(); ++i) {
    check(std::isfinite(value[i]), "bilateral solver: the target's value {} at pixel {} is not finite", value[i], i);
    b[vertex_[i]] += value[i] * options_.confidence;
  }
  for (std::size_t v = 0; v < count; ++v) {
    const double weight = count_[v] * options_.confidence;
    y[v] = b[v] / weight;
    diagonal[v] = std::max(options_.lambda * (m_[v] - 10 * n_[v] * n_[v]) + weight, options_.diagonal_min);
  }
  const auto apply = [&](const std::vector<double>& x, std::vector<double>& out) {
    for (std::size_t v = 0; v < count; ++v) scaled[v] = n_[v] * x[v];
    blur(scaled, out);
    for (std::size_t v = 0; v < count; ++v)
      out[v] = options_.lambda * (m_[v] * x[v] - n_[v] * out[v]) + count_[v] * options_.confidence * x[v];
  };
  apply(y, q);
  for (std::size_t v = 0; v < count; ++v) r[v] = b[v] - q[v];
  const double threshold = options_.tolerance * std::sqrt(dot(b, b));
  double rho_before = 0;
  for (int step = 0; step < options_.iterations && std::sqrt(dot(r, r)) > threshold; ++step) {
    for (std::size_t v = 0; v < count; ++v) z[v] = r[v] / diagonal[v];
    const double rho = dot(r, z), beta = step == 0 ? 0.0 : rho / rho_before;
    for (std::size_t v = 0; v < count; ++v) p[v] = z[v] + beta * p[v];
    apply(p, q);
    const double alpha = rho / dot(p, q);
    for (std::size_t v = 0; v < count; ++v) {
      y[v] += alpha * p[v];
      r[v] -= alpha * q[v];
    }
    rho_before = rho;
  }
  Tensor out = Tensor::empty(Shape{height_, width_}, DType::kF64);
  double* o = out.mutable_data<double>();
  for (std::size_t i = 0; i < vertex_.size(); ++i) o[i] = y[vertex_[i]];
  return out;
}

Tensor saliency_mask(const Tensor& soft, Preset preset) {
  const Ranked ranked = rank_components(soft);
  const auto& [labels, count, sizes] = ranked.components;
  std::int64_t chosen = ranked.second;
  if (preset == Preset::kPaper)
    chosen = count == 0 ? -1 : std::max_element(sizes.begin() + 1, sizes.end()) - sizes.begin();
  else if (chosen < 0)
    return Tensor::full(soft.shape(), 1, DType::kU8);
  return mask_where(labels, [&](std::int32_t label) { return label == chosen; });
}

Tensor all_but_largest(const Tensor& soft) {
  const Ranked ranked = rank_components(soft);
  return mask_where(ranked.components.labels, [&](std::int32_t label) { return label != ranked.largest; });
}

}  // namespace usol::maskcut
