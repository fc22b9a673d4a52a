#pragma once
// Sizes on the way of a mask: patch grid -> frame (S x S, where the CRF works) -> the picture's own size.

#include <cstdint>

#include "maskcut/partition.h"
#include "tensor/tensor.h"

namespace usol {

/// Height and width in pixels (or patches).
struct FrameSize {
  std::int64_t height = 0, width = 0;
  bool operator==(const FrameSize&) const = default;
};

/// The frame of size * size pixels for a picture: square, or with `native_aspect` the picture's ratio at about
/// size * size pixels with both sides multiples of the patch. Throws Error on anything below one.
FrameSize working_size(std::int64_t image_height, std::int64_t image_width, std::int64_t size, std::int64_t patch,
                       bool native_aspect);

/// Patches of a frame: each side / patch, rounded half to even, at least 1. Throws Error on anything below one.
FrameSize patch_grid(const FrameSize& frame, std::int64_t patch);

/// Nearest-neighbour resizing of a u8 [h, w] mask, with the pixels that PyTorch's mode "nearest" takes.
Tensor upsample_nearest(const Tensor& mask, const FrameSize& size);

/// The mask at the picture's size: 0/255, Pillow's BICUBIC, foreground above half of the result's own maximum.
/// u8 [h, w] of 0/1 -> u8 [height, width] of 0/1.
/// release: where no resized pixel is 0 and the first one is background, foreground and background come out exchanged
/// (its run lengths are made from two values that are both nonzero).
Tensor mask_to_image_size(const Tensor& mask, std::int64_t height, std::int64_t width, Preset preset);

}  // namespace usol
