#pragma once
// Patch features without a network that know an object from its background by classical means: contrast with the
// picture's border, and within what that leaves open the colour, texture and position of colour_features.h.
// In the pipeline: in the place of models/vit.h, where there are no weights. The cut stays the normalized cut.
// Source: Zhang et al. 2015, Zhu et al. 2014 (border_contrast.h); Shi & Malik 2000 (colour_features.h).

#include <cstdint>

#include "usol/maskcut/frame.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// Width of the features contrast_features() returns.
inline constexpr std::int64_t kContrastFeatureDim = 386;

/// A picture's objects by contrast alone, before any cut.
struct ContrastObjects {
  Tensor contrast;       // f64 [h, w] in 0 ... 1: border_contrast()
  double threshold = 0;  // Otsu's
  Tensor labels;  // i32 [h, w]: 0 is background; 1 the object of most contrast, summed over its pixels, and so on
  std::int64_t count = 0;  // objects
};

/// Connected regions of contrast above its threshold, without links and specks thinner than three pixels (an opening by
/// a cross; if it leaves nothing, there is none). image: u8 [H, W, 3]. Throws Error on other inputs.
ContrastObjects contrast_objects(const Tensor& image);

/// Features f32 [kContrastFeatureDim, h, w] of unit length on the patch grid of `frame`, whose cosine is
/// 0.7 cos(angle_i - angle_j) + 0.3 c_ij. The angle goes from 0, clearly background, to 2 (radians), clearly an object,
/// through 1 where half of a patch is of an object; it is 0.5 less in the second object of contrast_objects() and 0.6
/// less in those after it, which connects them with background of their colours, so that cuts tend to meet the first
/// one first. c_ij is the affinity of colour_features(), which decides where contrast does not. So at MaskCut's tau the
/// first object is not connected with the background, whatever its size: the side of the cut is not left to the corners
/// of the picture. A picture of a single colour gives zeros: it has no object. Same features on every run. Throws Error
/// as colour_features() does.
Tensor contrast_features(const Tensor& image, const Size& frame, std::int64_t patch);

}  // namespace usol::maskcut
