#pragma once
// Fast bilateral solver: smooths a soft mask along the colours of its image. TokenCut refines its saliency masks with
// it, and FOUND the pseudo-masks that its head is trained on.
// Source: Barron, Poole, "The Fast Bilateral Solver", 2016; constants from Wang et al. 2022 (TokenCut), section 4.2.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/models/preset.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct BilateralSolverOptions {
  double sigma_px = 16;     // edge of a grid cell: pixels ...
  double sigma_luma = 16;   // ... levels of Y in 0..255 ...
  double sigma_chroma = 8;  // ... and of U and V
  double lambda = 256;      // smoothness against fidelity
  double confidence = 0.999;
  double diagonal_min = 1e-5;  // floor of the preconditioner's diagonal
  double tolerance = 1e-5;     // of |residual| / |right-hand side|, for conjugate gradients
  int iterations = 25;
  int bistochastization_rounds = 10;
};

class BilateralSolver {
 public:
  /// Builds the grid of `image` (u8 [H, W, 3] RGB, on the CPU). Throws Error for another dtype or shape, an empty
  /// image, more than 65536 cells along an axis, or an option out of range.
  explicit BilateralSolver(const Tensor& image, const BilateralSolverOptions& options = {});

  /// The smoothed target, f64 [H, W]; roughly within the target's range. `target` is [H, W] of any floating dtype or
  /// u8. Throws Error for another shape or dtype, or a value that is not finite.
  Tensor solve(const Tensor& target) const;

  /// Occupied grid cells.
  std::int64_t vertices() const { return static_cast<std::int64_t>(count_.size()); }

 private:
  void blur(const std::vector<double>& x, std::vector<double>& out) const;

  std::int64_t height_, width_;
  BilateralSolverOptions options_;
  std::vector<std::int32_t> vertex_;                      // [H * W]
  std::vector<std::array<std::int32_t, 10>> neighbours_;  // [M], along each of the five axes; -1 where there is none
  std::vector<double> count_;                             // [M], pixels in the cell
  std::vector<double> n_, m_;                             // [M], the diagonals that make the blur bistochastic
};

/// TokenCut's saliency mask from the solver's output: pixels above 0.5, holes filled, then one component (u8 [H, W]).
/// paper: the largest; all zero if there is none. release: the background counts as a component, and the second largest
/// is taken (of equals the one numbered first). That is the same for an object smaller than its surroundings; but a
/// foreground larger than the background gives the background, and no foreground at all gives everything.
/// Throws Error unless soft is f64 [H, W].
Tensor saliency_mask(const Tensor& soft, Preset preset);

/// FOUND's variant: all components but the largest, the background counting as one (of equals the one numbered last is
/// left out).
Tensor all_but_largest(const Tensor& soft);

}  // namespace usol::maskcut
