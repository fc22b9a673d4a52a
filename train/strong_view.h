#pragma once
// The strong view of a training picture: other colours, blurred, partly erased, so that a detector that learns from
// noisy masks sees the same objects in two ways. Source: Wang et al. 2022 (FreeSOLO), whose public code the numbers
// are; torchvision's ColorJitter, RandomGrayscale and RandomErasing; Chen et al. 2020 (SimCLR) for the blur. Pixels are
// Pillow's and torchvision's (io/adjust.h), random numbers are our own.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/tensor/generator.h"
#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"
#include "usol/train/colour_jitter.h"

namespace usol::train {

/// A rectangle of noise in a picture.
struct ErasingOptions {
  double probability = 0;
  double least_area = 0, most_area = 0;    // share of the picture's
  double least_ratio = 1, most_ratio = 1;  // of height to width; its logarithm is uniform
};

/// The defaults are FreeSOLO's.
struct StrongViewOptions {
  double jitter = 0.8, grey = 0.2, blur = 0.5;  // probabilities
  JitterRanges ranges{.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1};
  double least_blur = 0.1, most_blur = 2;  // standard deviation in pixels
  std::array<ErasingOptions, 3> erasings{
      {{0.7, 0.05, 0.2, 0.3, 3.3}, {0.5, 0.02, 0.2, 0.1, 6}, {0.3, 0.02, 0.2, 0.05, 8}}};
};

struct Erased {
  std::int64_t top = 0, left = 0, height = 0, width = 0;
  std::vector<float> noise;  // [3, height, width], standard normal
};

/// Everything that is done to one picture, in this order.
struct StrongView {
  bool jittered = false;
  ColourJitter jitter;
  bool grey = false;
  double blur = 0;  // 0: none
  std::vector<Erased> erased;
};

/// A rectangle that fits at the tenth attempt at the latest, or one of height 0.
Erased draw_erased(Size picture, const ErasingOptions& options, Generator& generator);
StrongView draw_strong_view(Size picture, const StrongViewOptions& options, Generator& generator);
/// u8 [H, W, 3] -> another one of that size. Noise times 255 is cut to a whole number and taken modulo 256, as the
/// bytes of the public code are.
Tensor strong_view(const Tensor& image, const StrongView& view);

}  // namespace usol::train
