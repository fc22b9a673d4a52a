#include "usol/maskcut/ncut.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "usol/maskcut/krylov.h"
#include "usol/maskcut/krylov_batch.h"
#include "usol/maskcut/lanczos.h"
#include "usol/ops/symmetric_eigen.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

// With D^(1/2) x = y the problem reads D^(-1/2) W D^(-1/2) y = (1 - lambda) y, symmetric, with first eigenvector
// D^(1/2) 1 and value 1. W z = eps (1'z) 1 + (1 - eps) B z, so nothing but the bits of B is ever read.
class NormalizedAffinity {
 public:
  explicit NormalizedAffinity(const PatchGraph& graph)
      : graph_(graph), n_(graph.size()), scale_(static_cast<std::size_t>(n_)), first_(scale_.size()) {
    double total = 0;
    for (const double degree : graph.degrees()) total += degree;
    for (std::size_t i = 0; i < scale_.size(); ++i) {
      scale_[i] = 1 / std::sqrt(graph.degrees()[i]);
      first_[i] = std::sqrt(graph.degrees()[i] / total);
    }
  }

  const std::vector<double>& first_eigenvector() const { return first_; }
  const std::vector<double>& scale() const { return scale_; }

  SymmetricOperator as_operator() {
    return {n_, [this](const double* x, double* y, std::int64_t vectors, std::int64_t stride) {
              multiply(x, y, vectors, stride);
            }};
  }

  Tensor dense() const {
    Tensor matrix = Tensor::empty({n_, n_}, DType::kF64);
    double* to = matrix.mutable_data<double>();
    for (std::int64_t i = 0; i < n_; ++i)
      for (std::int64_t j = 0; j < n_; ++j)
        *to++ = (graph_.bits().get(i, j) ? 1.0 : graph_.eps()) * scale(i) * scale(j);
    return matrix;
  }

 private:
  double scale(std::int64_t i) const { return scale_[static_cast<std::size_t>(i)]; }

  void multiply(const double* x, double* y, std::int64_t vectors, std::int64_t stride) {
    scaled_.resize(static_cast<std::size_t>(vectors * n_));
    product_.resize(scaled_.size());
    for (std::int64_t v = 0; v < vectors; ++v)
      for (std::int64_t i = 0; i < n_; ++i)
        scaled_[static_cast<std::size_t>(v * n_ + i)] = x[v * stride + i] * scale(i);
    graph_.bits().multiply(scaled_.data(), product_.data(), vectors, n_);
    for (std::int64_t v = 0; v < vectors; ++v) {
      double sum = 0;
      for (std::int64_t i = 0; i < n_; ++i) sum += scaled_[static_cast<std::size_t>(v * n_ + i)];
      for (std::int64_t i = 0; i < n_; ++i)
        y[v * stride + i] =
            (graph_.eps() * sum + (1 - graph_.eps()) * product_[static_cast<std::size_t>(v * n_ + i)]) * scale(i);
    }
  }

  const PatchGraph& graph_;
  std::int64_t n_;
  std::vector<double> scale_, first_, scaled_, product_;
};

// Eigenpairs in y, values descending, from the second on.
struct Pairs {
  std::vector<double> values;
  std::vector<double> vectors;
  double residual = 0;
  std::int64_t products = 0;
};

// Size of the group of nearly equal values that `start` begins.
std::int64_t group_size(const std::vector<double>& values, std::int64_t start) {
  const auto n = static_cast<std::int64_t>(values.size());
  std::int64_t end = start + 1;
  while (end < n && values[static_cast<std::size_t>(start)] - values[static_cast<std::size_t>(end)] < kClusterGap)
    ++end;
  return end - start;
}

// One vector more than wanted tells simple eigenvalues from double ones. Only if the block's vectors all ended up in
// one cluster is it run again with a block that holds the widest cluster of interest.
constexpr std::int64_t kBlocks[] = {2, kMaxCluster + 1};

LanczosOptions lanczos_options(std::int64_t block) {
  LanczosOptions options;
  options.cluster_gap = kClusterGap;
  options.block = block;
  return options;
}

// Whether the vectors of all clusters can have been told apart.
bool is_resolved(const LanczosResult& result, std::int64_t block) {
  const auto found = static_cast<std::int64_t>(result.values.size());
  for (std::int64_t i = 0; i < found;) {
    const std::int64_t size = group_size(result.values, i);
    if (size >= block) return block > kMaxCluster;
    i += size;
  }
  return true;
}

Pairs pairs_of(LanczosResult result, std::int64_t products_before) {
  return {std::move(result.values), std::move(result.vectors), result.residual, products_before + result.products};
}

Pairs solve_lanczos(NormalizedAffinity& affinity, std::int64_t count) {
  const SymmetricOperator a = affinity.as_operator();
  std::int64_t products = 0;
  for (const std::int64_t block : kBlocks) {
    LanczosResult result = largest_eigenpairs(a, affinity.first_eigenvector(), count, lanczos_options(block));
    if (is_resolved(result, block)) return pairs_of(std::move(result), products);
    products += result.products;
  }
  fail(ErrorKind::kUnsupported, "smallest_eigenvectors: no block size was tried");
}

Pairs solve_dense(const NormalizedAffinity& affinity, std::int64_t count, Device device) {
  const Tensor matrix = affinity.dense();
  const std::int64_t n = matrix.size(0), found = std::min(n, count + kMaxCluster + 2);
  const SymmetricEigen largest = symmetric_eigen(matrix.to(device), found);
  const Tensor values = largest.values.to(Device::cpu());
  Tensor vectors = largest.vectors.to(Device::cpu());
  // Value 1 with vector D^(1/2) 1 is always there. Where other values are 1 too (up to rounding), the solver returns
  // an arbitrary basis of their space: take the known vector out of all of them, and drop what vanishes.
  const Eigen::Map<const Eigen::VectorXd> first(affinity.first_eigenvector().data(), n);
  Eigen::Map<Eigen::MatrixXd> basis(vectors.mutable_data<double>(), n, found);
  Eigen::Index dropped = 0;
  (first.transpose() * basis).cwiseAbs().maxCoeff(&dropped);
  // Reflect so that column `dropped` becomes the known vector and the others stay orthonormal.
  if (basis.col(dropped).dot(first) > 0) basis.col(dropped) *= -1;
  const Eigen::VectorXd normal = (basis.col(dropped) - first).normalized();
  const Eigen::RowVectorXd along = 2 * normal.transpose() * basis;
  basis -= normal * along;
  const Eigen::Map<const Eigen::MatrixXd> symmetric(matrix.data<double>(), n, n);
  Pairs pairs;
  for (Eigen::Index i = 0; i < found; ++i) {
    if (i == dropped) continue;
    const double value = values.data<double>()[i];
    pairs.values.push_back(value);
    pairs.vectors.insert(pairs.vectors.end(), basis.col(i).data(), basis.col(i).data() + n);
    pairs.residual = std::max(pairs.residual, (symmetric * basis.col(i) - value * basis.col(i)).norm());
  }
  return pairs;
}

// Replaces the `size` orthonormal vectors by the basis of their span that smallest_eigenvectors() documents.
void choose_basis(double* vectors, std::int64_t size, std::int64_t n) {
  Eigen::Map<Eigen::MatrixXd> span(vectors, n, size);
  Eigen::MatrixXd chosen(n, size);
  std::int64_t stream = 0;
  for (std::int64_t j = 0; j < size; ++stream) {
    const std::vector<double> fixed = fixed_vector(stream, n);
    // The projection onto the span less the vectors chosen before it. Coordinates within the span keep it exact.
    Eigen::VectorXd c = span.transpose() * Eigen::Map<const Eigen::VectorXd>(fixed.data(), n);
    const double before = c.norm();
    const Eigen::MatrixXd taken = span.transpose() * chosen.leftCols(j);
    for (int pass = 0; pass < 2; ++pass) c -= taken * (taken.transpose() * c);
    if (c.norm() <= 1e-6 * before || before == 0) continue;  // this fixed vector says nothing new
    chosen.col(j++) = span * c.normalized();
  }
  span = chosen;
}

}  // namespace

namespace {

// False if the graph has no second eigenvector worth a cut: fewer than two patches, all pairs connected, or none.
bool has_cut(const PatchGraph& graph) {
  if (graph.size() < 2) return false;
  const auto [fewest, most] = std::minmax_element(graph.degrees().begin(), graph.degrees().end());
  const double everything = static_cast<double>(graph.size()), nothing = graph.eps() * everything;
  return *fewest != everything && *most > nothing * (1 + 1e-12);
}

CutVectors no_cut(const PatchGraph& graph) {
  CutVectors cut;
  cut.vectors = Tensor::empty({0, graph.size()}, DType::kF64);
  return cut;
}

// From the vectors y to those that are returned: clusters settled, x = D^(-1/2) y, signs canonical.
CutVectors finish(Pairs pairs, const NormalizedAffinity& affinity, std::int64_t count) {
  const auto n = static_cast<std::int64_t>(affinity.scale().size());
  CutVectors cut;
  cut.residual = pairs.residual;
  cut.products = pairs.products;
  std::int64_t defined = 0;
  while (defined < static_cast<std::int64_t>(pairs.values.size()) && defined < count) {
    const std::int64_t size = group_size(pairs.values, defined);
    if (size > kMaxCluster || (size == n - 1 && size > 1)) break;
    if (size > 1) choose_basis(pairs.vectors.data() + defined * n, size, n);
    cut.degenerate.insert(cut.degenerate.end(), static_cast<std::size_t>(size), size > 1);
    defined += size;
  }
  defined = std::min(defined, count);
  cut.degenerate.resize(static_cast<std::size_t>(defined));
  cut.vectors = Tensor::empty({defined, n}, DType::kF64);
  double* x = cut.vectors.mutable_data<double>();
  for (std::int64_t v = 0; v < defined; ++v) {
    cut.values.push_back(1 - pairs.values[static_cast<std::size_t>(v)]);
    for (std::int64_t i = 0; i < n; ++i)
      x[v * n + i] = pairs.vectors[static_cast<std::size_t>(v * n + i)] * affinity.scale()[static_cast<std::size_t>(i)];
    make_sign_canonical({x + v * n, static_cast<std::size_t>(n)});
  }
  return cut;
}

void check_count(std::int64_t count) {
  check(count >= 1, "smallest_eigenvectors: expected a count of at least 1, got {}", count);
}

// One graph of a batch on its way.
struct Pending {
  std::size_t index;
  NormalizedAffinity affinity;
  std::int64_t products = 0;
};

}  // namespace

CutVectors smallest_eigenvectors(const PatchGraph& graph, std::int64_t count, Eigensolver solver, Device dense_on) {
  check_count(count);
  if (!has_cut(graph)) return no_cut(graph);
  NormalizedAffinity affinity(graph);
  return finish(
      solver == Eigensolver::kLanczos ? solve_lanczos(affinity, count) : solve_dense(affinity, count, dense_on),
      affinity, count);
}

std::vector<CutOutcome> smallest_eigenvectors_batch(std::span<const PatchGraph* const> graphs, std::int64_t count,
                                                    Device device) {
  check_count(count);
  std::vector<CutOutcome> outcomes(graphs.size());
  const auto guarded = [&](std::size_t i, const auto& work) {
    try {
      outcomes[i].vectors = work();
    } catch (...) {
      outcomes[i].error = std::current_exception();
    }
  };
  if (device.is_cpu()) {
    for (std::size_t i = 0; i < graphs.size(); ++i)
      guarded(i, [&] { return smallest_eigenvectors(*graphs[i], count); });
    return outcomes;
  }
  std::vector<Pending> pending;
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    check(graphs[i]->size() == graphs[0]->size() && graphs[i]->eps() == graphs[0]->eps(),
          "smallest_eigenvectors: expected graphs of {} patches with eps {}, got {} and {}", graphs[0]->size(),
          graphs[0]->eps(), graphs[i]->size(), graphs[i]->eps());
    if (has_cut(*graphs[i]))
      pending.push_back({i, NormalizedAffinity(*graphs[i])});
    else
      outcomes[i].vectors = no_cut(*graphs[i]);
  }
  for (const std::int64_t block : kBlocks) {
    if (pending.empty()) break;
    std::vector<KrylovProblem> problems;
    for (const Pending& p : pending)
      problems.push_back({&graphs[p.index]->bits(), p.affinity.scale().data(), p.affinity.first_eigenvector().data()});
    const LanczosOptions options = lanczos_options(block);
    const std::int64_t dimension = graphs[0]->size() - 1;
    std::vector<LanczosOutcome> solved;
    {
      const auto vectors =
          make_device_krylov(problems, graphs[0]->eps(), block, krylov_capacity(dimension, count, options), device);
      solved = run_lanczos(*vectors, problems.size(), dimension, count, options);
    }
    std::vector<std::uint8_t> again(pending.size());
    parallel_for_each(0, static_cast<std::int64_t>(pending.size()), [&](std::int64_t p) {
      const auto k = static_cast<std::size_t>(p);
      LanczosOutcome& outcome = solved[k];
      if (outcome.error) {
        outcomes[pending[k].index].error = outcome.error;
      } else if (is_resolved(outcome.result, block)) {
        guarded(pending[k].index, [&] {
          return finish(pairs_of(std::move(outcome.result), pending[k].products), pending[k].affinity, count);
        });
      } else {
        pending[k].products += outcome.result.products;
        again[k] = 1;
      }
    });
    std::vector<Pending> rest;
    for (std::size_t k = 0; k < pending.size(); ++k)
      if (again[k] != 0) rest.push_back(std::move(pending[k]));
    pending = std::move(rest);
  }
  return outcomes;
}

std::int64_t argmax(std::span<const double> values) {
  check(!values.empty(), "argmax: expected at least one value, got none");
  double largest = values[0], magnitude = 0;
  for (const double value : values) {
    largest = std::max(largest, value);
    magnitude = std::max(magnitude, std::abs(value));
  }
  const double limit = largest - 1e-9 * magnitude;
  return std::find_if(values.begin(), values.end(), [&](double value) { return value >= limit; }) - values.begin();
}

void make_sign_canonical(std::span<double> values) {
  std::vector<double> magnitudes(values.size());
  std::transform(values.begin(), values.end(), magnitudes.begin(), [](double value) { return std::abs(value); });
  if (values.empty() || values[static_cast<std::size_t>(argmax(magnitudes))] >= 0) return;
  for (double& value : values) value = -value;
}

}  // namespace usol::maskcut
