#pragma once
// The last step of a mask: from the frame to the picture's own size.

#include <cstdint>

#include "usol/models/preset.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// The mask at the picture's size: 0/255, Pillow's BICUBIC, foreground above half of the result's own maximum.
/// u8 [h, w] of 0/1 -> u8 [height, width] of 0/1.
/// release: where no resized pixel is 0 and the first one is background, foreground and background come out exchanged
/// (its run lengths are made from two values that are both nonzero).
Tensor mask_to_image_size(const Tensor& mask, std::int64_t height, std::int64_t width, Preset preset);

}  // namespace usol::maskcut
