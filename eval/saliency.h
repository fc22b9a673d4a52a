#pragma once
// Saliency metrics: IoU, accuracy and the maximal F-beta of soft foreground maps.
// Place: the metrics of unsupervised saliency detection (TokenCut, FOUND).
// Source: Wang et al., CVPR 2022 (TokenCut), for the definitions; Achanta et al., CVPR 2009, for beta^2 = 0.3.

#include <array>
#include <cstdint>

#include "usol/eval/metrics.h"
#include "usol/tensor/tensor.h"

namespace usol::eval {

/// Thresholds of F-beta: i / 255 for i = 0 .. 254; a pixel is foreground where the map is strictly above.
inline constexpr int kSaliencyThresholds = 255;

/// One image.
struct SaliencyScores {
  double iou = 0;       // of the map above 0.5; 1 if both are empty
  double accuracy = 0;  // share of pixels where the map above 0.5 agrees with the truth
  std::array<double, kSaliencyThresholds> f_beta{};
  double found_f_max = 0;  // as FOUND's code computes it: beta^2 = 0.09, the maximum over this image's thresholds
};

/// `map`: u8 [H, W], 0 .. 255, or f32 [H, W], 0 .. 1. `truth`: u8 or bool [H, W], nonzero is foreground. An empty
/// prediction has precision 1, an empty truth recall 1. Throws Error if shapes or dtypes do not fit or a value is NaN.
SaliencyScores saliency_scores(const Tensor& map, const Tensor& truth);

/// Means over images; their order does not matter but for rounding.
class SaliencyMean {
 public:
  void add(const SaliencyScores& scores);
  std::int64_t images() const { return images_; }
  /// IoU, accuracy, max_F_beta (the largest mean over images of one threshold) and FOUND_max_F_beta (the mean of each
  /// image's maximum, spec section 5). -1 without images.
  Metrics metrics() const;

 private:
  std::int64_t images_ = 0;
  double iou_ = 0, accuracy_ = 0, found_f_max_ = 0;
  std::array<double, kSaliencyThresholds> f_beta_{};
};

}  // namespace usol::eval
