// Block Lanczos written as a Rayleigh-Ritz method on a growing orthonormal basis: the projected matrix H is kept
// whole, so that replaced vectors (breakdown) and kept Ritz vectors (restart) need no case of their own.
#include "maskcut/lanczos.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>

#include "maskcut/vector_kernels.h"
#include "tensor/check.h"
#include "tensor/generator.h"

namespace usol {
namespace {

// A vector of the next block whose new part is shorter than this holds nothing but rounding errors.
constexpr double kBreakdown = 1e-12;
// No residual below this is asked for: it is what products of norm 1 are known to.
constexpr double kRounding = 1e-15;

double norm(const double* x, std::int64_t n) {
  double square = 0;
  dot_products(x, 1, x, 1, n, n, &square);
  return std::sqrt(square);
}

class BlockLanczos {
 public:
  BlockLanczos(const SymmetricOperator& a, const std::vector<double>& deflated, std::int64_t count,
               const LanczosOptions& options)
      : a_(a),
        options_(options),
        n_(a.size),
        fixed_(deflated.empty() ? 0 : 1),
        count_(count),
        capacity_(std::min(std::max(options.max_basis, 4 * (count + options.block)), n_ - fixed_)) {
    // Left uninitialised: pages that no vector reaches cost nothing.
    columns_ = std::make_unique_for_overwrite<double[]>(
        static_cast<std::size_t>((fixed_ + capacity_ + 2 * options.block) * n_));
    std::copy(deflated.begin(), deflated.end(), columns_.get());
  }

  LanczosResult run() {
    for (std::int64_t i = 0; i < options_.block; ++i) add_fixed_vector();
    std::int64_t next_check = std::min(count_ + 1, capacity_);
    while (true) {
      expand();
      const bool exhausted = frontier_ == 0, full = size_ + frontier_ > capacity_;
      if (size_ < next_check && !exhausted && !full) continue;
      solve_projected();
      const std::int64_t converged = converged_pairs();
      if (converged > 0 || exhausted) {
        LanczosResult result = take(converged > 0 ? converged : std::min(count_, size_));
        if (result.residual <= options_.tolerance) return result;
        check(!exhausted, ErrorKind::kUnsupported, "lanczos: residual {} after exhausting the space, expected {}",
              result.residual, options_.tolerance);
      }
      check(products_ < options_.max_products, ErrorKind::kUnsupported,
            "lanczos: not converged after {} products (residual {}, expected {}); try the dense eigensolver", products_,
            residuals_[static_cast<std::size_t>(std::min(count_, size_) - 1)], options_.tolerance);
      if (full) restart();
      next_check = size_ + std::max(options_.block, size_ / 8);
    }
  }

 private:
  // Columns: the deflated vector, `size_` basis vectors, `frontier_` vectors of the next block.
  double* column(std::int64_t i) { return columns_.get() + (fixed_ + i) * n_; }
  std::int64_t all_columns() const { return fixed_ + size_ + frontier_; }

  // Makes the candidate at column(size_ + frontier_) orthogonal to every column and of length one, and adds it to the
  // frontier. Returns false, adding nothing, if it lies in their span.
  bool add_candidate() {
    double* candidate = column(size_ + frontier_);
    double before = norm(candidate, n_);
    coefficients_.resize(static_cast<std::size_t>(all_columns()));
    for (int pass = 0; pass < 4 && before > kBreakdown; ++pass) {
      dot_products(columns_.get(), all_columns(), candidate, 1, n_, n_, coefficients_.data());
      subtract_combination(columns_.get(), all_columns(), coefficients_.data(), candidate, 1, n_, n_);
      const double after = norm(candidate, n_);
      if (after <= kBreakdown) return false;
      for (std::int64_t i = 0; i < n_; ++i) candidate[i] /= after;
      // Without much cancellation the candidate is orthogonal to rounding: "twice is enough".
      if (after > 0.5 * before) {
        ++frontier_;
        return true;
      }
      before = 1;
    }
    return false;
  }

  // Breakdown: the space found so far is invariant. A fixed vector leads out of it, unless it is the whole space.
  void add_fixed_vector() {
    while (all_columns() < n_) {
      const std::vector<double> values = fixed_vector(next_fixed_++, n_);
      double* candidate = column(size_ + frontier_);
      std::copy(values.begin(), values.end(), candidate);
      const double length = norm(candidate, n_);
      for (std::int64_t i = 0; i < n_; ++i) candidate[i] /= length;
      if (add_candidate()) return;
    }
  }

  // Moves the frontier U into the basis and makes the next one from A U.
  void expand() {
    const std::int64_t block = frontier_, stride = n_;
    image_.resize(static_cast<std::size_t>(block * n_));
    a_.multiply(column(size_), image_.data(), block, stride);
    products_ += block;

    const std::int64_t known = all_columns();
    coefficients_.resize(static_cast<std::size_t>(known * block));
    dot_products(columns_.get(), known, image_.data(), block, n_, stride, coefficients_.data());
    if (size_ + block > h_.rows()) {
      const Eigen::Index grown = 2 * (size_ + block);
      h_.conservativeResizeLike(Eigen::MatrixXd::Zero(grown, grown));
    }
    for (std::int64_t j = 0; j < block; ++j)
      for (std::int64_t i = 0; i < size_ + block; ++i)
        h_(i, size_ + j) = h_(size_ + j, i) = coefficients_[static_cast<std::size_t>(j * known + fixed_ + i)];
    subtract_combination(columns_.get(), known, coefficients_.data(), image_.data(), block, n_, stride);
    size_ += block;
    frontier_ = 0;

    for (std::int64_t j = 0; j < block && all_columns() < n_; ++j) {
      std::copy_n(image_.data() + j * n_, n_, column(size_ + frontier_));
      if (!add_candidate()) add_fixed_vector();
    }
    // A V = V H + U R E', with E the last `block` columns of the identity: |R s| over those rows of s is a residual.
    coupling_.resize(frontier_, block);
    if (frontier_ > 0) dot_products(column(size_), frontier_, image_.data(), block, n_, stride, coupling_.data());
  }

  void solve_projected() {
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(h_.topLeftCorner(size_, size_));
    check(solver.info() == Eigen::Success, ErrorKind::kUnsupported, "lanczos: the projected problem of size {} failed",
          size_);
    values_ = solver.eigenvalues().reverse();
    ritz_ = solver.eigenvectors().rowwise().reverse();
    residuals_.assign(static_cast<std::size_t>(size_), 0.0);
    if (frontier_ > 0)
      for (std::int64_t i = 0; i < size_; ++i)
        residuals_[static_cast<std::size_t>(i)] = (coupling_ * ritz_.col(i).tail(coupling_.cols())).norm();
  }

  // Number of leading Ritz pairs to return, or 0 if they are not good enough yet.
  std::int64_t converged_pairs() const {
    if (size_ < count_ && frontier_ > 0) return 0;
    const std::int64_t last = std::min(count_, size_) - 1;
    // Groups of nearly equal values; the last wanted value's group is [start, end). A block of b vectors cannot tell
    // more than b equal values, so a group is followed no further than that.
    std::int64_t start = 0, end = 1;
    double smallest_gap = 1;
    for (; end < size_; ++end) {
      const bool same_group = values_[start] - values_[end] < options_.cluster_gap;
      if (!same_group) {
        smallest_gap = std::min(smallest_gap, values_[end - 1] - values_[end]);
        if (end > last) break;
        start = end;
      } else if (end > last && end - start >= options_.block) {
        break;
      }
    }
    if (end == size_ && frontier_ > 0 && end - start < options_.block) return 0;
    // A residual r turns a vector by about r / gap. Elements equal to within 1e-9 count as ties (argmax() in ncut.h),
    // so the vectors should be better than that as far as rounding allows.
    const double wanted = std::clamp(1e-10 * smallest_gap, kRounding, options_.tolerance);
    for (std::int64_t i = 0; i < end; ++i)
      if (residuals_[static_cast<std::size_t>(i)] > wanted) return 0;
    // The first value that is left out only has to be known well enough to say that it is outside of the group.
    if (end < size_ && values_[start] - values_[end] >= options_.cluster_gap) {
      const double gap = values_[end - 1] - values_[end];
      if (residuals_[static_cast<std::size_t>(end)] > std::max(wanted, 0.1 * gap)) return 0;
    }
    return end;
  }

  LanczosResult take(std::int64_t pairs) {
    LanczosResult result;
    result.values.assign(values_.data(), values_.data() + pairs);
    result.vectors = combine(pairs);
    std::vector<double> image(result.vectors.size());
    a_.multiply(result.vectors.data(), image.data(), pairs, n_);
    products_ += pairs;
    result.products = products_;
    for (std::int64_t v = 0; v < pairs; ++v) {
      double square = 0;
      for (std::int64_t i = v * n_; i < (v + 1) * n_; ++i) {
        const auto k = static_cast<std::size_t>(i);
        const double difference = image[k] - values_[v] * result.vectors[k];
        square += difference * difference;
      }
      result.residual = std::max(result.residual, std::sqrt(square));
    }
    return result;
  }

  // The first `pairs` Ritz vectors, one after the other.
  std::vector<double> combine(std::int64_t pairs) {
    std::vector<double> vectors(static_cast<std::size_t>(pairs * n_), 0.0);
    const Eigen::MatrixXd coefficients = -ritz_.leftCols(pairs);
    subtract_combination(column(0), size_, coefficients.data(), vectors.data(), pairs, n_, n_);
    return vectors;
  }

  // Thick restart: the best third of the Ritz vectors becomes the basis, the frontier stays.
  void restart() {
    const std::int64_t kept = std::min(size_, std::max(size_ / 3, count_ + options_.block));
    const std::vector<double> vectors = combine(kept);
    const std::vector<double> frontier(column(size_), column(size_) + frontier_ * n_);
    std::copy(vectors.begin(), vectors.end(), column(0));
    std::copy(frontier.begin(), frontier.end(), column(kept));
    h_.setZero();
    h_.topLeftCorner(kept, kept).diagonal() = values_.head(kept);
    size_ = kept;
  }

  const SymmetricOperator& a_;
  const LanczosOptions& options_;
  std::int64_t n_, fixed_, count_, capacity_;
  std::int64_t size_ = 0, frontier_ = 0, next_fixed_ = 0, products_ = 0;
  std::unique_ptr<double[]> columns_;
  std::vector<double> image_, coefficients_, residuals_;
  Eigen::MatrixXd h_, coupling_, ritz_;
  Eigen::VectorXd values_;
};

}  // namespace

std::vector<double> fixed_vector(std::int64_t k, std::int64_t size) {
  std::vector<double> values(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i)
    values[static_cast<std::size_t>(i)] = 2.0 * static_cast<double>(Generator::to_unit(Generator::word(
                                                    0, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(i)))) -
                                          1.0;
  return values;
}

LanczosResult largest_eigenpairs(const SymmetricOperator& a, const std::vector<double>& deflated, std::int64_t count,
                                 const LanczosOptions& options) {
  check(deflated.empty() || static_cast<std::int64_t>(deflated.size()) == a.size,
        "lanczos: expected a deflated vector of {} elements, got {}", a.size, deflated.size());
  check(count >= 1 && options.block >= 1, "lanczos: expected count and block of at least 1, got {} and {}", count,
        options.block);
  if (a.size - (deflated.empty() ? 0 : 1) < 1) return {};
  return BlockLanczos(a, deflated, count, options).run();
}

}  // namespace usol
