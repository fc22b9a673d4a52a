#pragma once
// Patch features without a network: local colour, texture and position, the classical normalized cut of a picture.
// In the pipeline: in the place of models/vit.h, where there are no weights.
// Source: Shi & Malik 2000, "Normalized Cuts and Image Segmentation", section 3 (affinity from colour and position);
//         Rahimi & Recht 2007, "Random Features for Large-Scale Kernel Machines".

#include <cstdint>

#include "usol/maskcut/frame.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// Width of the features colour_features() returns.
inline constexpr std::int64_t kColourFeatureDim = 384;

/// Features f32 [kColourFeatureDim, h, w] on the patch grid of `frame` whose cosine is about
/// exp(-|f_i - f_j|^2 / (2 sigma^2)). f joins the patch's mean CIE L*a*b* colour, its texture (logarithms of the
/// deviations of L*, a*, b* and of the two gradients of L*, weight 0.3) and its position; colour and texture are
/// centred and scaled to unit variance over the picture. sigma is set for each picture so that 40 % of the pairs of
/// patches have a cosine above 0.15, MaskCut's tau. A picture of a single colour gives zeros: it has no object.
/// image: u8 [H, W, 3] RGB at any size. Same features on every run. Throws Error on other inputs or patch < 1.
Tensor colour_features(const Tensor& image, const Size& frame, std::int64_t patch);

}  // namespace usol::maskcut
