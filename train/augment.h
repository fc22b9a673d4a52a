#pragma once
// What a picture goes through before the detector sees it: resizing to a random scale and flipping.
// Source: Detectron2's ResizeShortestEdge and RandomFlip, on Pillow's resizing.

#include <cstdint>
#include <vector>

#include "usol/tensor/generator.h"
#include "usol/train/dataset.h"

namespace usol::train {

struct AugmentOptions {
  std::vector<std::int64_t> short_sides{240, 320, 480, 640, 672, 704, 736, 768, 800, 1024};  // one of them at random
  std::int64_t long_side = 1333;                                                             // at most
  double flip = 0.5;                                                                         // left-right, probability
};

/// Picture (bilinear), masks (nearest) and boxes at another size, mirrored if `flip`. Boxes are clipped to the picture;
/// objects without box or (where there are masks) mask left are dropped.
Sample transformed(const Sample& sample, std::int64_t height, std::int64_t width, bool flip);
Sample transformed(const CompactSample& sample, std::int64_t height, std::int64_t width, bool flip);
/// transformed() with a size and a side that the generator chooses. One mask at a time is decoded.
Sample augmented(const Sample& sample, const AugmentOptions& options, Generator& generator);
Sample augmented(const CompactSample& sample, const AugmentOptions& options, Generator& generator);

/// Tight boxes f32 [G, 4] of masks [G, H, W], ends exclusive; zeros for an empty mask.
Tensor boxes_of_masks(const Tensor& masks);
/// The objects at these positions.
Sample with_objects(const Sample& sample, const std::vector<std::int64_t>& objects);

}  // namespace usol::train
