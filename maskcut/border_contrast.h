#pragma once
// What stands out from the border of a picture, told from colours alone. Photographers put objects inside the frame, so
// most of what the frame's border shows is background: three classical measures of how far a place is from it.
// In the pipeline: contrast_features.h puts them into the affinity of the normalized cut.
// Source: Zhang et al. 2015, "Minimum Barrier Salient Object Detection at 80 FPS", sections 3 and 4.1; Zhu et al. 2014,
// "Saliency Optimization from Robust Background Detection", sections 3 to 5; Otsu 1979, "A Threshold Selection Method
// from Gray-Level Histograms".

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// The longer side, in pixels, of what border_contrast() works on.
inline constexpr std::int64_t kContrastSide = 100;

// planes: f64 [C, h, w]. Maps: f64 [h, w], stretched to 0 ... 1 (all zero if they are all equal). Throw Error on
// another dtype or rank.

/// Minimum barrier distance: of all paths to the border the least range of values on one, summed over the planes; by
/// three raster passes, as in the paper.
Tensor barrier_distance(const Tensor& planes);

/// How unlike the colours are to those along each side of the picture (Mahalanobis distance to a band of a tenth of the
/// longer side), without the side that they are most unlike: an object may touch it.
Tensor border_distance(const Tensor& planes);

/// Contrast of cells of 4 x 4 pixels with all that is likely to be background: regions that lie along the border for
/// much of their length (boundary connectivity), whatever their shape; then the smooth compromise of contrast and
/// background. Of Zhu et al., on a grid of cells instead of superpixels.
Tensor background_contrast(const Tensor& planes);

/// The mean of the three maps, stretched to 0 ... 1, for an image u8 [H, W, 3] brought to kContrastSide in L*a*b*,
/// smoothed over 5 x 5 pixels: f64 [h, w]. Same bits for any number of threads. Throws Error on other inputs.
Tensor border_contrast(const Tensor& image);

/// Otsu's threshold between two classes of values, from a histogram of 256 bins. Of equally good ones the lowest.
double otsu_threshold(const Tensor& map);

// ---- what the maps have in common
/// Throws Error unless planes are f64 [C, h, w]; `name` is the caller's.
void check_planes(const char* name, const Tensor& planes);
/// Stretches values to 0 ... 1; equal ones become zero.
void stretch(std::vector<double>& values);

}  // namespace usol::maskcut
