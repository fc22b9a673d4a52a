#pragma once
// What is inside a box, as one vector: the class token of a vision transformer on the crop. Clustered, these vectors
// give boxes without labels their pseudo-classes. Place: between `usol discover` and a detector with classes.
// Source: Simeoni et al. 2021, "Localizing Objects with Self-Supervised Transformers and no Labels" (LOST),
// section 3.4, and its cluster_for_OD.py.

#include <cstdint>

#include "usol/io/rle.h"
#include "usol/models/patch_backbone.h"
#include "usol/tensor/device.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct CropOptions {
  std::int64_t short_px = 256;  // the crop's shorter side becomes this
  /// The longer side becomes this many times the shorter one at most (a thin crop is squeezed): LOST has no limit, but
  /// one column of a picture would be some hundred thousand patches.
  std::int64_t longest = 16;
};

/// What the network sees of a crop: a picture u8 [H, W, 3], normalised, cut at the box's edges (rounded to whole
/// pixels, halves to the even one; limited to the picture, one pixel at least), resized so that the shorter side is
/// options.short_px (bicubic as PyTorch's, without antialiasing: what torchvision 0.8 does to a tensor), then without
/// the right columns and lower rows that fill no patch -> [1, 3, h, w] f32, multiples of `patch_px`. Throws Error on
/// other pictures, and Error(kUsage) if short_px is less than a patch or longest less than 1.
Tensor crop_input(const Tensor& image, const io::Box& box, std::int64_t patch_px, const CropOptions& options = {},
                  const Normalisation& by = {});

/// The class token of that crop at length 1, f32 [D] on the CPU. `device`: the network's. Throws Error as crop_input()
/// and PatchBackbone::class_tokens().
Tensor crop_class_token(const PatchBackbone& backbone, const Tensor& image, const io::Box& box,
                        const CropOptions& options = {}, const Normalisation& by = {}, Device device = {});

}  // namespace usol
