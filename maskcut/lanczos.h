#pragma once
// Largest eigenpairs of a symmetric f64 operator that is only known by its products: block Lanczos with full
// reorthogonalisation and thick restarts. The eigensolver under maskcut/ncut.h.
// Source: Golub & Underwood 1977 (block Lanczos); Wu & Simon 2000 (thick restart).

#include <cstdint>
#include <functional>
#include <vector>

namespace usol::maskcut {

/// y = A x for `vectors` vectors of `size` elements, vector v at x + v * stride. A must be symmetric.
struct SymmetricOperator {
  std::int64_t size = 0;
  std::function<void(const double* x, double* y, std::int64_t vectors, std::int64_t stride)> multiply;
};

/// Elements of the k-th fixed vector: 2 u_i - 1, where u_i in [0, 1) is Generator::to_unit of the i-th word of Philox
/// with seed 0 and stream k. Starting vectors and choices among equals come from here, so that results repeat.
std::vector<double> fixed_vector(std::int64_t k, std::int64_t size);

struct LanczosOptions {
  /// Vectors per product, so the largest multiplicity of an eigenvalue that is seen.
  std::int64_t block = 2;
  /// Norm of A y - mu y, with |y| = 1, that every returned pair stays below. A is taken to have norm about 1.
  double tolerance = 1e-10;
  /// Eigenvalues closer than this to the largest of their group form one cluster.
  double cluster_gap = 1e-9;
  /// Basis vectors before a restart. Memory: 8 bytes * size * (max_basis + 2 block).
  std::int64_t max_basis = 128;
  /// Products before giving up.
  std::int64_t max_products = 40000;
};

struct LanczosResult {
  /// Descending. At least the `count` wanted ones (fewer only if the space has no more), then the rest of the cluster
  /// that the last wanted one is in.
  std::vector<double> values;
  /// values.size() orthonormal vectors of `size` elements, one after the other.
  std::vector<double> vectors;
  /// Largest |A y - mu y| of them, computed with one more product.
  double residual = 0;
  /// Products with a single vector that were made.
  std::int64_t products = 0;
};

/// The `count` largest eigenpairs of A on the orthogonal complement of `deflated`, a unit eigenvector of A (or empty).
/// Throws Error(kUnsupported) if max_products do not suffice, naming the residual reached.
LanczosResult largest_eigenpairs(const SymmetricOperator& a, const std::vector<double>& deflated, std::int64_t count,
                                 const LanczosOptions& options = {});

}  // namespace usol::maskcut
