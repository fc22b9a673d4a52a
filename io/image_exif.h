#pragma once
// Orientation of photographs: finding it in EXIF and XMP blocks, and turning the pixels.
// Source: CIPA DC-008 (Exif 2.3) section 4.6; Adobe XMP specification part 1.

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "usol/io/image.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// What an EXIF block (a TIFF header and its directory, without the "Exif\0\0" prefix) says.
struct ExifOrientation {
  std::optional<int> value;  // the tag's value as stored; anything outside 1..8 means no turn
  bool malformed = false;    // the block ends too early or is no TIFF
};
ExifOrientation exif_orientation(std::span<const std::byte> tiff);

/// The digit of tiff:Orientation in an XMP packet, as attribute or element.
std::optional<int> xmp_orientation(std::span<const std::byte> packet);

/// What a picture's EXIF block, with or without the "Exif\0\0" before it, or else its XMP packet says: 1..8, 1 if there
/// is none. Warns of a malformed block if the options ask for turning. `name` is the file's.
int orientation_of(std::span<const std::byte> exif, std::span<const std::byte> xmp, const std::string& name,
                   const DecodeOptions& options);

/// True for the four orientations that exchange height and width.
bool swaps_axes(int orientation);

/// Turns u8 [H, W, C] upright: 2 mirrored, 3 upside down, 4 mirrored upside down, 5 transposed, 6 to be turned
/// clockwise, 7 transversed, 8 to be turned counter-clockwise. Other values return the image itself.
Tensor apply_orientation(const Tensor& image, int orientation);

}  // namespace usol::io
