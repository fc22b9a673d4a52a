#pragma once
// The principal components of patch features: the few directions in which they differ most, whose scores as red, green
// and blue show people what a network sees. Not a part of MaskCut.
// Source: Oquab et al. 2023 (DINOv2), figure 1; the colours are those of DINOv3's notebook.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// scikit-learn's PCA with whitening, components signed so that each one's largest entry in size is positive.
struct PrincipalComponents {
  Tensor mean;        // f64 [D]
  Tensor components;  // f64 [count, D]: orthonormal rows, by falling variance
  Tensor deviations;  // f64 [count]: of the scores; 0 where patches do not differ

  /// features [D, h, w] -> scores f64 [count, h, w] of deviation 1, 0 where the deviation is 0.
  Tensor scores(const Tensor& features) const;
};

/// Mean and covariance of patches that come picture by picture, in f64.
class PatchMoments {
 public:
  /// features [D, h, w], floating, of one D. Throws Error on other shapes.
  void add(const Tensor& features);
  std::int64_t patches() const { return patches_; }
  /// At most `count` components, D if that is less. Throws Error without patches.
  PrincipalComponents components(std::int64_t count) const;

 private:
  std::int64_t patches_ = 0;
  Tensor origin_;   // f64 [D, 1]: the first picture's mean, from which sums are taken
  Tensor sum_;      // f64 [D, 1]
  Tensor product_;  // f64 [D, D]
};

/// Scores as colours, u8 [h patch_px, w patch_px, 3]: sigmoid(2 score) of the first three components, each patch a
/// square. Components that are not there are mid-grey.
Tensor component_colours(const Tensor& scores, std::int64_t patch_px);

}  // namespace usol::maskcut
