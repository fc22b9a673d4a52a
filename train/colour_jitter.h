#pragma once
// Random brightness, contrast, saturation and hue, in random order, as torchvision's ColorJitter does them to Pillow's
// pictures. What trainings that compare views of a picture have in common.

#include <array>

#include "usol/tensor/generator.h"
#include "usol/tensor/tensor.h"

namespace usol::train {

/// What is done to one picture.
struct ColourJitter {
  std::array<int, 4> order{0, 1, 2, 3};  // of brightness, contrast, saturation, hue
  double brightness = 1, contrast = 1, saturation = 1, hue = 0;
};

/// How far: factors lie within 1 - x ... 1 + x, the turn of the hue within -x ... x of a circle.
struct JitterRanges {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
};

ColourJitter draw_jitter(const JitterRanges& ranges, Generator& generator);
/// Changes a dense u8 image [H, W, 3] in place.
void apply(const ColourJitter& jitter, Tensor& image);

}  // namespace usol::train
