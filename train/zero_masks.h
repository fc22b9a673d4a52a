#pragma once
// Memory for the masks of one picture. Hundreds of small objects leave nearly all of it 0.
// Place: train/augment.cc and train/copy_paste.cc write their masks here.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::train {

/// Zeros u8 [count, height, width] on the CPU. Many of them come from the system as pages that cost memory and time
/// only once something is written to them. Throws Error(kOutOfMemory) if there are no more.
Tensor zero_masks(std::int64_t count, std::int64_t height, std::int64_t width);

}  // namespace usol::train
