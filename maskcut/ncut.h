#pragma once
// The eigenvectors of a normalized cut: (D - W) x = lambda D x for a PatchGraph.
// In the pipeline: after maskcut/affinity.h; maskcut/maskcut.h turns the second eigenvector into a mask.
// Source: Shi & Malik 2000, "Normalized Cuts and Image Segmentation", section 2.

#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "usol/maskcut/affinity.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// Lanczos on the implicit operator, or a dense solver that serves as its oracle (ops/symmetric_eigen.h; minutes at
/// 3600 patches on a CPU).
enum class Eigensolver { kLanczos, kDense };

/// Eigenvalues closer than this are equal as far as f64 can tell: their vectors are one space, not several vectors.
inline constexpr double kClusterGap = 1e-9;
/// A cluster of more than this many eigenvalues shows no structure: it has no vectors worth returning.
inline constexpr std::int64_t kMaxCluster = 7;

struct CutVectors {
  std::vector<double> values;            // lambda, ascending, from the second smallest on
  Tensor vectors;                        // f64 [found, n]: x = D^(-1/2) y with |y| = 1, canonical sign
  std::vector<std::uint8_t> degenerate;  // 1: the value is not simple, see smallest_eigenvectors()
  double residual = 0;                   // largest |D^(-1/2) W D^(-1/2) y - (1 - lambda) y|; below 1e-10
  std::int64_t products = 0;             // matrix-vector products made

  std::int64_t found() const { return static_cast<std::int64_t>(values.size()); }
};

/// The `count` eigenvectors after the constant first one.
///
/// Where s eigenvalues lie within kClusterGap of one another, any basis of their space would do. The vectors returned
/// are then unit vectors of that space (in terms of y): the one that correlates most with fixed_vector(0), then the
/// one orthogonal to it that correlates most with fixed_vector(1), and so on; all flagged degenerate.
///
/// Fewer are found when n - 1 < count, and when no vector is defined from some point on: a cluster of more than
/// kMaxCluster values, a cluster that is the whole space, or a graph with all or none of the pairs connected (all
/// features equal, or nothing left). found() == 0 means that the graph has no second eigenvector worth a cut.
/// The dense solver runs on `dense_on`. Throws Error if count < 1 or the solver does not converge.
CutVectors smallest_eigenvectors(const PatchGraph& graph, std::int64_t count,
                                 Eigensolver solver = Eigensolver::kLanczos, Device dense_on = {});

/// The answer for one graph of several, or why there is none.
struct CutOutcome {
  CutVectors vectors;
  std::exception_ptr error;
};

/// smallest_eigenvectors() by Lanczos for each of `graphs`, which have one size and one eps, with the vectors in the
/// memory of `device` and all graphs in step. What is found for a graph does not depend on the others.
/// On the CPU: one graph after the other, smallest_eigenvectors() itself.
std::vector<CutOutcome> smallest_eigenvectors_batch(std::span<const PatchGraph* const> graphs, std::int64_t count,
                                                    Device device);

/// Index of the largest value; of those within 1e-9 * max|values| of it the lowest. Throws Error on an empty span.
std::int64_t argmax(std::span<const double> values);

/// Makes the element of largest magnitude positive (ties as in argmax()).
void make_sign_canonical(std::span<double> values);

}  // namespace usol::maskcut
