#pragma once
// Resizing of 8-bit images with exactly Pillow's bits. The reference resizes images before the ViT (LANCZOS), masks
// back to the original size (BICUBIC) and training images (BILINEAR, masks NEAREST) with Pillow, so every bit counts.
// (Maps of numbers: ops/interpolate.h.)

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::io {

enum class Filter { kNearest, kBilinear, kBicubic, kLanczos };

/// Which pass comes first. Each pass rounds to 8 bits, so the order shows in the result.
enum class PassOrder {
  kHorizontalFirst,  // Pillow before 13, and so every published result (12.3 excepts images 100 times higher than wide)
  kPillow13,         // vertical first if H - height > 0 and H - height > 2 (W - width)
};

/// Resizes a CPU u8 image [H, W] or [H, W, C], 1 <= C <= 4, to `height` x `width`; the result has the same rank.
/// kBilinear, kBicubic (a = -0.5) and kLanczos (3 lobes) widen with the scale when shrinking (no aliasing): a
/// horizontal and a vertical pass, each with weights rounded to 22 bits and results rounded to 8 bits; a pass that
/// keeps the size is left out. kNearest takes the sample under the pixel's centre. Channels are independent (Pillow's
/// modes L, RGB, CMYK and RGBX; its RGBA is premultiplied first). Same bits for any number of threads. Throws Error on
/// other inputs, empty images and sides above 2^24. Source: Pillow 9.5, 12.3 and 13.0, Image.resize without `box` and
/// `reducing_gap`.
Tensor resize(const Tensor& image, std::int64_t height, std::int64_t width, Filter filter,
              PassOrder order = PassOrder::kHorizontalFirst);

/// Where kNearest takes its samples along one axis: for each of `out_size` pixels one of `in_size`, ascending, or -1
/// for the last ones if rounding took them outside (these stay 0).
std::vector<std::int64_t> nearest_samples(std::int64_t in_size, std::int64_t out_size);

}  // namespace usol::io
