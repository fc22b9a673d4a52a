// Block Lanczos written as a Rayleigh-Ritz method on a growing orthonormal basis: the projected matrix H is kept
// whole, so that replaced vectors (breakdown) and kept Ritz vectors (restart) need no case of their own. Here are the
// decisions; the vectors are in maskcut/krylov.h.
#include "usol/maskcut/lanczos.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "usol/maskcut/krylov.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

// No residual below this is asked for: it is what products of norm 1 are known to.
constexpr double kRounding = 1e-15;

// What becomes of one problem after its basis has grown.
class LanczosControl {
 public:
  enum class Next { kGrow, kRestart, kTake, kDone };

  LanczosControl(std::int64_t dimension, std::int64_t count, const LanczosOptions& options)
      : options_(options),
        count_(count),
        capacity_(krylov_capacity(dimension, count, options)),
        target_(std::min(count + 1, capacity_)) {}

  Next next() const { return next_; }
  /// Basis vectors at which to look again.
  std::int64_t target() const { return target_; }

  /// After growing.
  void look(Projection projection) {
    seen_ = std::move(projection);
    solve_projected();
    const std::int64_t converged = converged_pairs();
    if (converged > 0 || exhausted()) {
      pairs_ = converged > 0 ? converged : std::min(count_, seen_.size);
      products_taken_ += pairs_;
      next_ = Next::kTake;
    } else {
      go_on();
    }
  }

  /// The combinations to take, or to restart with: a thick restart keeps the best third of the Ritz vectors.
  RitzPairs wanted() const {
    const std::int64_t pairs = next_ == Next::kTake ? pairs_ : kept_;
    return {{values_.data(), values_.data() + pairs}, {ritz_.data(), ritz_.data() + pairs * seen_.size}};
  }

  /// After taking. Returns the result if it is good enough.
  std::optional<LanczosResult> judge(RitzVectors taken) {
    if (taken.residual <= options_.tolerance) {
      next_ = Next::kDone;
      return LanczosResult{
          {values_.data(), values_.data() + pairs_}, std::move(taken.vectors), taken.residual, products()};
    }
    check(!exhausted(), ErrorKind::kUnsupported, "lanczos: residual {} after exhausting the space, expected {}",
          taken.residual, options_.tolerance);
    go_on();
    return std::nullopt;
  }

  void give_up() { next_ = Next::kDone; }

 private:
  bool exhausted() const { return seen_.frontier == 0; }
  std::int64_t products() const { return seen_.products + products_taken_; }

  void go_on() {
    check(products() < options_.max_products, ErrorKind::kUnsupported,
          "lanczos: not converged after {} products (residual {}, expected {}); try the dense eigensolver", products(),
          residuals_[static_cast<std::size_t>(std::min(count_, seen_.size) - 1)], options_.tolerance);
    std::int64_t size = seen_.size;
    next_ = Next::kGrow;
    if (seen_.size + seen_.frontier > capacity_) {
      next_ = Next::kRestart;
      size = kept_ = std::min(seen_.size, std::max(seen_.size / 3, count_ + options_.block));
    }
    target_ = size + std::max(options_.block, size / 8);
  }

  void solve_projected() {
    const std::int64_t size = seen_.size, frontier = seen_.frontier;
    const Eigen::Map<const Eigen::MatrixXd> h(seen_.matrix.data(), size, size);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(h);
    check(solver.info() == Eigen::Success, ErrorKind::kUnsupported, "lanczos: the projected problem of size {} failed",
          size);
    values_ = solver.eigenvalues().reverse();
    ritz_ = solver.eigenvectors().rowwise().reverse();
    residuals_.assign(static_cast<std::size_t>(size), 0.0);
    if (frontier == 0) return;
    // |R s| over the last rows of s is the residual of the Ritz pair s.
    const Eigen::Map<const Eigen::MatrixXd> coupling(seen_.coupling.data(), frontier,
                                                     static_cast<std::int64_t>(seen_.coupling.size()) / frontier);
    for (std::int64_t i = 0; i < size; ++i)
      residuals_[static_cast<std::size_t>(i)] = (coupling * ritz_.col(i).tail(coupling.cols())).norm();
  }

  // Number of leading Ritz pairs to return, or 0 if they are not good enough yet.
  std::int64_t converged_pairs() const {
    const std::int64_t size = seen_.size, frontier = seen_.frontier;
    if (size < count_ && frontier > 0) return 0;
    const std::int64_t last = std::min(count_, size) - 1;
    // Groups of nearly equal values; the last wanted value's group is [start, end). A block of b vectors cannot tell
    // more than b equal values, so a group is followed no further than that.
    std::int64_t start = 0, end = 1;
    double smallest_gap = 1;
    for (; end < size; ++end) {
      const bool same_group = values_[start] - values_[end] < options_.cluster_gap;
      if (!same_group) {
        smallest_gap = std::min(smallest_gap, values_[end - 1] - values_[end]);
        if (end > last) break;
        start = end;
      } else if (end > last && end - start >= options_.block) {
        break;
      }
    }
    if (end == size && frontier > 0 && end - start < options_.block) return 0;
    // A residual r turns a vector by about r / gap. Elements equal to within 1e-9 count as ties (argmax() in ncut.h),
    // so the vectors should be better than that as far as rounding allows.
    const double wanted = std::clamp(1e-10 * smallest_gap, kRounding, options_.tolerance);
    for (std::int64_t i = 0; i < end; ++i)
      if (residuals_[static_cast<std::size_t>(i)] > wanted) return 0;
    // The first value that is left out only has to be known well enough to say that it is outside of the group.
    if (end < size && values_[start] - values_[end] >= options_.cluster_gap) {
      const double gap = values_[end - 1] - values_[end];
      if (residuals_[static_cast<std::size_t>(end)] > std::max(wanted, 0.1 * gap)) return 0;
    }
    return end;
  }

  const LanczosOptions& options_;
  std::int64_t count_, capacity_, target_;
  std::int64_t pairs_ = 0, kept_ = 0, products_taken_ = 0;
  Next next_ = Next::kGrow;
  Projection seen_;
  Eigen::MatrixXd ritz_;
  Eigen::VectorXd values_;
  std::vector<double> residuals_;
};

}  // namespace

std::int64_t krylov_capacity(std::int64_t dimension, std::int64_t count, const LanczosOptions& options) {
  return std::min(std::max(options.max_basis, 4 * (count + options.block)), dimension);
}

std::vector<LanczosOutcome> run_lanczos(KrylovVectors& vectors, std::size_t problems, std::int64_t dimension,
                                        std::int64_t count, const LanczosOptions& options) {
  using Next = LanczosControl::Next;
  std::vector<LanczosOutcome> outcomes(problems);
  std::vector<LanczosControl> controls(problems, LanczosControl(dimension, count, options));
  // A problem's error is its own: it leaves, the others go on.
  const auto guarded = [&](std::size_t i, const auto& work) {
    try {
      work();
    } catch (...) {
      outcomes[i].error = std::current_exception();
      controls[i].give_up();
    }
  };
  const auto wanted = [&](Next next, std::vector<RitzPairs>& pairs) {
    pairs.assign(problems, {});
    bool any = false;
    for (std::size_t i = 0; i < problems; ++i) {
      if (controls[i].next() != next) continue;
      pairs[i] = controls[i].wanted();
      any = true;
    }
    return any;
  };
  std::vector<std::int64_t> targets(problems);
  std::vector<RitzPairs> pairs;
  for (;;) {
    if (wanted(Next::kRestart, pairs)) vectors.restart(pairs);
    std::int64_t growing = 0;
    for (std::size_t i = 0; i < problems; ++i) {
      targets[i] = controls[i].next() == Next::kDone ? 0 : controls[i].target();
      growing += targets[i] > 0;
    }
    if (growing == 0) return outcomes;
    std::vector<Projection> projections = vectors.grow(targets);
    parallel_for_each(0, static_cast<std::int64_t>(problems), [&](std::int64_t p) {
      const auto i = static_cast<std::size_t>(p);
      if (targets[i] > 0) guarded(i, [&] { controls[i].look(std::move(projections[i])); });
    });
    if (!wanted(Next::kTake, pairs)) continue;
    std::vector<RitzVectors> taken = vectors.take(pairs);
    for (std::size_t i = 0; i < problems; ++i) {
      if (pairs[i].pairs() == 0) continue;
      guarded(i, [&] {
        if (auto result = controls[i].judge(std::move(taken[i]))) outcomes[i].result = std::move(*result);
      });
    }
  }
}

LanczosResult largest_eigenpairs(const SymmetricOperator& a, const std::vector<double>& deflated, std::int64_t count,
                                 const LanczosOptions& options) {
  check(deflated.empty() || static_cast<std::int64_t>(deflated.size()) == a.size,
        "lanczos: expected a deflated vector of {} elements, got {}", a.size, deflated.size());
  check(count >= 1 && options.block >= 1, "lanczos: expected count and block of at least 1, got {} and {}", count,
        options.block);
  const std::int64_t dimension = a.size - (deflated.empty() ? 0 : 1);
  if (dimension < 1) return {};
  const auto vectors = make_host_krylov(a, deflated, options.block, krylov_capacity(dimension, count, options));
  LanczosOutcome outcome = std::move(run_lanczos(*vectors, 1, dimension, count, options).front());
  if (outcome.error) std::rethrow_exception(outcome.error);
  return std::move(outcome.result);
}

}  // namespace usol::maskcut
