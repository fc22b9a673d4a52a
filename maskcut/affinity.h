#pragma once
// The patch graph of MaskCut: W = eps 11' + (1 - eps) B, where B_ij = 1 when the features of patches i and j are
// similar. B is a bit matrix computed once per image; W is never stored.
// Source: Wang et al. 2023 (MaskCut), section 3.2; Wang et al. 2022 (TokenCut), section 3.2.

#include <cstdint>
#include <vector>

#include "maskcut/bit_matrix.h"
#include "tensor/tensor.h"

namespace usol {

struct AffinityOptions {
  /// Patches are connected when the cosine of their features exceeds tau, or with `inclusive` equals it.
  /// Compared in f32.
  double tau = 0.15;
  bool inclusive = true;
  /// Weight between patches that are not connected, so that the graph never falls apart.
  double eps = 1e-5;
};

class PatchGraph {
 public:
  /// unit_features: f32 [D, n], columns of length one, or zero for a patch without a feature (its cosine with every
  /// patch, itself included, is 0). Throws Error on another rank or dtype.
  PatchGraph(const Tensor& unit_features, const AffinityOptions& options);
  /// From a ready bit matrix, for tests and other affinities. It must be symmetric.
  PatchGraph(BitMatrix bits, const AffinityOptions& options);

  std::int64_t size() const { return bits_.size(); }
  double eps() const { return options_.eps; }
  const BitMatrix& bits() const { return bits_; }
  /// d_i = sum_j W_ij, the diagonal included.
  const std::vector<double>& degrees() const { return degrees_; }

  /// Makes the marked patches (nonzero; size() marks) featureless: their cosine with every patch becomes 0. What that
  /// means for B depends on tau: normally their rows and columns are cleared, diagonal included.
  void paint_out(const std::vector<std::uint8_t>& marks);

  /// Ncut of the two-way partition into marked and unmarked patches: cut/assoc + cut/assoc, in [0, 2].
  /// 2 when one side is empty. Source: Shi & Malik 2000, equation 2.
  double ncut(const std::vector<std::uint8_t>& marks) const;

  /// W as f32 [n, n], for dumps and the dense solver's tests: n^2 floats.
  Tensor dense() const;

 private:
  void update_degrees();

  AffinityOptions options_;
  BitMatrix bits_;
  std::vector<double> degrees_;
};

/// Each column of f32 [D, n] divided by its Euclidean length, or by 1e-12 if that is more. f32 [D, n].
/// Throws Error if a value is not finite, or on another rank or dtype.
Tensor normalize_features(const Tensor& features);

}  // namespace usol
