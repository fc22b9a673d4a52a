#pragma once
// What the discovery baselines have in common: an object on the patch grid, and its box in the picture.
// In the pipeline: beside maskcut/maskcut.h, on the same features; `usol discover` runs them.

#include <cstdint>
#include <vector>

#include "usol/maskcut/affinity.h"
#include "usol/maskcut/components.h"
#include "usol/maskcut/discoverer.h"
#include "usol/maskcut/frame.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// One object. A baseline that finds none returns no Discovery.
struct Discovery {
  Tensor mask;             // u8 [h, w] of 0/1, in patches; not empty
  PixelBox box;            // of the mask, in pixels of the picture, clipped to it
  std::int64_t seed = -1;  // row-major patch the object was grown from; -1 where a method has none
};

/// The box of a patch mask in pixels, clipped to the picture (the grid reaches beyond it where it was padded).
PixelBox pixel_box(const Tensor& mask, std::int64_t patch, const Size& picture);

/// The patch mask in pixels, cropped to the picture: u8 [height, width] of 0/1.
Tensor pixel_mask(const Tensor& mask, std::int64_t patch, const Size& picture);

/// The objects of a method in the picture: their masks at its size, with the boxes that the method gave them where the
/// patches stand for the picture at its own size.
DiscoveredObjects in_picture(const std::vector<Discovery>& objects, const DiscoverScene& scene);

/// Whether features f32 [D, h, w] connect every patch with every other, so that no cut is defined.
bool all_connected(const Tensor& features, const AffinityOptions& options);

/// Throws Error unless `features` is a CPU tensor f32 [D, h, w] of finite values with D, h, w >= 1, patch >= 1 and the
/// grid of patches covers the picture without a patch wholly outside. `op` names the caller.
void check_patch_features(const char* op, const Tensor& features, std::int64_t patch, const Size& picture);

}  // namespace usol::maskcut
