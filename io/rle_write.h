#pragma once
// Runs written into memory that is used again and again: train/augment.cc decodes hundreds of masks of one picture.

#include <cstdint>

#include "usol/io/rle.h"

namespace usol::io {

/// Writes the foreground as 1 into pixels u8 [rle.height, rle.width], whose others stay. Throws Error if the counts do
/// not add up to height * width.
void rle_write(const Rle& rle, std::uint8_t* pixels);

}  // namespace usol::io
