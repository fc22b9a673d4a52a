#pragma once
// The frame of a picture (S x S pixels: what the backbone sees and the CRF works on) and its patch grid.

#include <cstdint>

#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// How a picture becomes what the backbone sees.
enum class Framing {
  kFrame,      // resized to the frame of size and native_aspect, then to whole patches (MaskCut)
  kPadded,     // at its own size, normalised, then zero-padded to whole patches (LOST, TokenCut, FOUND)
  kNearest,    // resized to the nearest number of whole patches (TokenCut's saliency)
  kShortSide,  // resized (bilinear) until its short side has a length, as for detectors; to whole patches only where
               // the network takes nothing else (FreeSOLO's free masks)
};

/// The lengths of kShortSide, in pixels: of the short side, and the most that the long one may have. The defaults are
/// Detectron2's.
struct ShortSide {
  std::int64_t px = 800, most_px = 1333;
};

/// The frame of size * size pixels for a picture: square, or with `native_aspect` the picture's ratio at about
/// size * size pixels with both sides multiples of the patch. Throws Error on anything below one.
Size working_size(std::int64_t image_height, std::int64_t image_width, std::int64_t size, std::int64_t patch,
                  bool native_aspect);

/// Patches of a frame: each side / patch, rounded half to even, at least 1. Throws Error on anything below one.
Size patch_grid(const Size& frame, std::int64_t patch);

/// Nearest-neighbour resizing of a u8 [h, w] mask, with the pixels that PyTorch's mode "nearest" takes.
Tensor upsample_nearest(const Tensor& mask, const Size& size);

}  // namespace usol::maskcut
