#pragma once
// sRGB to CIE L*a*b*: colours whose distances are about those that people see.
// In the pipeline: first step of the features that need no network (colour_features.h, contrast_features.h).

#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// Planes L*, a*, b* of an image u8 [H, W, 3], dense on the CPU: 3 * H * W values. White point D65.
std::vector<float> lab_planes(const Tensor& rgb);

}  // namespace usol::maskcut
