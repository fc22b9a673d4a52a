#pragma once
// What maskcut/lanczos.h computes with, without its decisions: an orthonormal basis that grows by block Lanczos steps,
// and the operator projected on it. One problem with any operator on the host (maskcut/krylov.cc), or a batch of patch
// graphs on a device (maskcut/krylov_batch.h); run_lanczos() leads either.

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "usol/maskcut/lanczos.h"

namespace usol::maskcut {

/// A new part of a vector shorter than this holds nothing but rounding errors.
inline constexpr double kKrylovBreakdown = 1e-12;

/// What the decisions are based on: A V = V H + U R E' with basis V, H = V' A V, the next block U, and E the last
/// columns of the identity.
struct Projection {
  std::int64_t size = 0;         // columns of V
  std::int64_t frontier = 0;     // columns of U; 0: V spans an invariant space, all of it that can be reached
  std::int64_t products = 0;     // products made so far
  std::vector<double> matrix;    // H, [size, size], symmetric
  std::vector<double> coupling;  // R, [columns of E, frontier]: column after column
};

/// Linear combinations of basis vectors that are asked for.
struct RitzPairs {
  std::vector<double> values;        // [pairs], descending; none: nothing is asked
  std::vector<double> coefficients;  // [pairs, size]

  std::int64_t pairs() const { return static_cast<std::int64_t>(values.size()); }
};

struct RitzVectors {
  std::vector<double> vectors;  // [pairs, n]
  double residual = 0;          // largest |A y - value y|
};

/// Bases of one or more problems of the same size. Every argument has an entry for each problem.
class KrylovVectors {
 public:
  virtual ~KrylovVectors() = default;
  /// Block steps until the basis has `target` vectors, or nothing new is found, or the next step might not fit into the
  /// capacity; at least one step. The first call begins with fixed_vector(0), fixed_vector(1), ...; so does a block
  /// that breaks down, with those not used yet. Target 0 leaves a problem alone, and its result empty.
  virtual std::vector<Projection> grow(const std::vector<std::int64_t>& targets) = 0;
  /// The combinations become the basis, with their values as the projected matrix; the next block stays.
  virtual void restart(const std::vector<RitzPairs>& pairs) = 0;
  /// The combinations themselves, and how well they solve the problem.
  virtual std::vector<RitzVectors> take(const std::vector<RitzPairs>& pairs) = 0;
};

/// The vectors of one operator on the host. `a` must outlive it; `deflated` as in largest_eigenpairs().
std::unique_ptr<KrylovVectors> make_host_krylov(const SymmetricOperator& a, const std::vector<double>& deflated,
                                                std::int64_t block, std::int64_t capacity);

/// The result of one problem, or why there is none.
struct LanczosOutcome {
  LanczosResult result;
  std::exception_ptr error;
};

/// Basis vectors that `count` pairs of a space of `dimension` may take.
std::int64_t krylov_capacity(std::int64_t dimension, std::int64_t count, const LanczosOptions& options);

/// Solves `problems` problems, each as largest_eigenpairs() documents. `dimension` is that of the
/// space without the deflated vector, at least 1; `vectors` was made with krylov_capacity() and options.block.
/// A problem that does not converge has its error in its outcome; what `vectors` throws is thrown.
std::vector<LanczosOutcome> run_lanczos(KrylovVectors& vectors, std::size_t problems, std::int64_t dimension,
                                        std::int64_t count, const LanczosOptions& options);

}  // namespace usol::maskcut
