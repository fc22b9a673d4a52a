#pragma once
// From a detector's small mask per box to masks of the picture's size.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// masks [R, M, M] f32 (probabilities), stretched over boxes [R, 4] f32 (pixels) and sampled at the centres of a
/// picture's pixels: u8 [R, height, width], 1 where the value is at least `threshold`. Bilinear, zero outside of the
/// mask; the mask's border cells fade to zero over half a cell outside of the box, as far as one pixel around it. Boxes
/// without area give no pixels. Throws Error on other shapes and dtypes, or a size below 1.
/// Source: Detectron2, paste_masks_in_image, with its arithmetic in f32.
Tensor paste_masks(const Tensor& masks, const Tensor& boxes, std::int64_t height, std::int64_t width,
                   double threshold = 0.5);

/// All dense; out u8 [R, height, width].
extern Kernel<void(const Tensor& masks, const Tensor& boxes, double threshold, Tensor& out)> paste_masks_kernel;

}  // namespace usol
