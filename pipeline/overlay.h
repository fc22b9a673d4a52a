#pragma once
// What was found in a picture, as a picture: masks and boxes above, what they were made of below.

#include <vector>

#include "usol/maskcut/maskcut.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// u8 [h, w, 3]: the picture (u8 [H, W, 3], at most 720 px wide) with its masks, and a row with the eigenvector of each
/// cut as a heat map (dark: background) and what became of the cut.
Tensor draw_maskcut(const Tensor& image, const maskcut::MaskCutResult& result);

/// u8 [h, w, 3]: the picture, in that size, with masks (u8 [H, W]) and their boxes, and below it `soft` (floating
/// [H, W], may be undefined) as a heat map.
Tensor draw_masks(const Tensor& image, const std::vector<Tensor>& masks, const Tensor& soft = {});

}  // namespace usol
