#pragma once
// What MaskCut found in a picture, as a picture: masks, boxes and scores above, the eigenvectors of the cuts below.

#include "maskcut/maskcut.h"
#include "tensor/tensor.h"

namespace usol {

/// u8 [h, w, 3]: the picture (u8 [H, W, 3], at most 720 px wide) with its masks, and a row with the eigenvector of each
/// cut as a heat map (dark: background) and what became of the cut.
Tensor draw_maskcut(const Tensor& image, const MaskCutResult& result);

}  // namespace usol
