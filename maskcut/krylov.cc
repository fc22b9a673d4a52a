// The basis of one problem on the host: the specification that maskcut/krylov_batch.cu is held to.
#include "usol/maskcut/krylov.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "usol/maskcut/vector_kernels.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

double norm(const double* x, std::int64_t n) {
  double square = 0;
  dot_products(x, 1, x, 1, n, n, &square);
  return std::sqrt(square);
}

class HostKrylov : public KrylovVectors {
 public:
  HostKrylov(const SymmetricOperator& a, const std::vector<double>& deflated, std::int64_t block, std::int64_t capacity)
      : a_(a), n_(a.size), fixed_(deflated.empty() ? 0 : 1), block_(block), capacity_(capacity) {
    // Left uninitialised: pages that no vector reaches cost nothing.
    columns_ = std::make_unique_for_overwrite<double[]>(static_cast<std::size_t>((fixed_ + capacity + 2 * block) * n_));
    std::copy(deflated.begin(), deflated.end(), columns_.get());
    h_.resize(static_cast<std::size_t>(capacity * capacity));
  }

  std::vector<Projection> grow(const std::vector<std::int64_t>& targets) override {
    if (targets[0] == 0) return std::vector<Projection>(1);
    if (size_ == 0)
      for (std::int64_t i = 0; i < block_; ++i) add_fixed_vector();
    do expand();
    while (size_ < targets[0] && frontier_ > 0 && size_ + frontier_ <= capacity_);
    Projection out{size_, frontier_, products_, {}, coupling_};
    for (std::int64_t i = 0; i < size_; ++i)
      out.matrix.insert(out.matrix.end(), &h_[static_cast<std::size_t>(i * capacity_)],
                        &h_[static_cast<std::size_t>(i * capacity_)] + size_);
    return {std::move(out)};
  }

  void restart(const std::vector<RitzPairs>& pairs) override {
    const std::int64_t kept = pairs[0].pairs();
    if (kept == 0) return;
    const std::vector<double> vectors = combine(pairs[0]);
    const std::vector<double> frontier(column(size_), column(size_) + frontier_ * n_);
    std::copy(vectors.begin(), vectors.end(), column(0));
    std::copy(frontier.begin(), frontier.end(), column(kept));
    std::fill(h_.begin(), h_.end(), 0.0);
    for (std::int64_t i = 0; i < kept; ++i) h(i, i) = pairs[0].values[static_cast<std::size_t>(i)];
    size_ = kept;
  }

  std::vector<RitzVectors> take(const std::vector<RitzPairs>& pairs) override {
    RitzVectors out{combine(pairs[0])};
    const std::int64_t count = pairs[0].pairs();
    std::vector<double> image(out.vectors.size());
    a_.multiply(out.vectors.data(), image.data(), count, n_);
    for (std::int64_t v = 0; v < count; ++v) {
      double square = 0;
      for (std::int64_t i = v * n_; i < (v + 1) * n_; ++i) {
        const auto k = static_cast<std::size_t>(i);
        const double difference = image[k] - pairs[0].values[static_cast<std::size_t>(v)] * out.vectors[k];
        square += difference * difference;
      }
      out.residual = std::max(out.residual, std::sqrt(square));
    }
    return {std::move(out)};
  }

 private:
  // Columns: the deflated vector, `size_` basis vectors, `frontier_` vectors of the next block.
  double* column(std::int64_t i) { return columns_.get() + (fixed_ + i) * n_; }
  std::int64_t all_columns() const { return fixed_ + size_ + frontier_; }
  double& h(std::int64_t i, std::int64_t j) { return h_[static_cast<std::size_t>(i * capacity_ + j)]; }

  // Makes the candidate at column(size_ + frontier_) orthogonal to every column and of length one, and adds it to the
  // frontier. Returns false, adding nothing, if it lies in their span.
  bool add_candidate() {
    double* candidate = column(size_ + frontier_);
    double before = norm(candidate, n_);
    coefficients_.resize(static_cast<std::size_t>(all_columns()));
    for (int pass = 0; pass < 4 && before > kKrylovBreakdown; ++pass) {
      dot_products(columns_.get(), all_columns(), candidate, 1, n_, n_, coefficients_.data());
      subtract_combination(columns_.get(), all_columns(), coefficients_.data(), candidate, 1, n_, n_);
      const double after = norm(candidate, n_);
      if (after <= kKrylovBreakdown) return false;
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
    for (std::int64_t j = 0; j < block; ++j)
      for (std::int64_t i = 0; i <= size_ + j; ++i)
        h(i, size_ + j) = h(size_ + j, i) = coefficients_[static_cast<std::size_t>(j * known + fixed_ + i)];
    subtract_combination(columns_.get(), known, coefficients_.data(), image_.data(), block, n_, stride);
    size_ += block;
    frontier_ = 0;

    for (std::int64_t j = 0; j < block && all_columns() < n_; ++j) {
      std::copy_n(image_.data() + j * n_, n_, column(size_ + frontier_));
      if (!add_candidate()) add_fixed_vector();
    }
    coupling_.resize(static_cast<std::size_t>(frontier_ * block));
    if (frontier_ > 0) dot_products(column(size_), frontier_, image_.data(), block, n_, stride, coupling_.data());
  }

  // The combinations, one after the other.
  std::vector<double> combine(const RitzPairs& pairs) {
    std::vector<double> vectors(static_cast<std::size_t>(pairs.pairs() * n_), 0.0), negative(pairs.coefficients);
    for (double& c : negative) c = -c;
    subtract_combination(column(0), size_, negative.data(), vectors.data(), pairs.pairs(), n_, n_);
    return vectors;
  }

  const SymmetricOperator& a_;
  std::int64_t n_, fixed_, block_, capacity_;
  std::int64_t size_ = 0, frontier_ = 0, next_fixed_ = 0, products_ = 0;
  std::unique_ptr<double[]> columns_;
  std::vector<double> h_, coupling_, image_, coefficients_;
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

std::unique_ptr<KrylovVectors> make_host_krylov(const SymmetricOperator& a, const std::vector<double>& deflated,
                                                std::int64_t block, std::int64_t capacity) {
  return std::make_unique<HostKrylov>(a, deflated, block, capacity);
}

}  // namespace usol::maskcut
