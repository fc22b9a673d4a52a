#pragma once
// The patch graph of MaskCut: W = eps 11' + (1 - eps) B, where B_ij = 1 when the features of patches i and j are
// similar. B is a bit matrix computed once per image; W is never stored.
// Source: Wang et al. 2023 (MaskCut), section 3.2; Wang et al. 2022 (TokenCut), section 3.2.

#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "usol/maskcut/bit_matrix.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

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

/// The graphs of several pictures.
struct GraphBatch {
  Tensor unit;                                    // f32 [N, D, n]: normalised features, on their device
  std::vector<std::optional<PatchGraph>> graphs;  // of each picture ...
  std::vector<std::exception_ptr> errors;         // ... or why there is none: a feature is not finite
};

/// normalize_features() and PatchGraph of each picture: features f32 [N, D, n], whose device does the products.
/// On a GPU they are f32 sums over the features in ascending order, never TF32; a cosine within rounding of tau may
/// fall on the other side of it than on the CPU.
GraphBatch patch_graphs(const Tensor& features, const AffinityOptions& options);

/// features f32 [N, D, n] -> unit f32 [N, D, n] as normalize_features() gives it, and squares f64 [N, n]: the squared
/// length of each column, not finite where a feature is not. All dense.
extern Kernel<void(const Tensor& features, Tensor& unit, Tensor& squares)> unit_columns_kernel;
/// unit f32 [N, D, n] -> bits i64 [N, words * 8, words, 8], words = ceil(n / 64), laid out as BitMatrix::raw(): ones
/// where the product of two columns is > tau (`inclusive`: >= tau), compared in f32. All dense; every word is written.
extern Kernel<void(const Tensor& unit, double tau, bool inclusive, Tensor& bits)> similar_pairs_kernel;

}  // namespace usol::maskcut
