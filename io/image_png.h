#pragma once
// The chunks of a PNG file, checked before stb_image decodes it: stb verifies neither lengths nor checksums
// in a way that could name the place of damage.
// Source: W3C Portable Network Graphics specification (third edition), sections 5 and 11.

#include <cstddef>
#include <span>
#include <string>

#include "usol/io/image.h"

namespace usol::io {

struct PngHeader {
  Size size;  // as stored, before turning
  int bit_depth = 8;
  bool grey = false;             // colour type 0
  std::size_t palette_at = 0;    // the PLTE chunk, of pictures that are indices into it (colour type 3)
  std::size_t palette_size = 0;  // its bytes
  int orientation = 1;           // of the eXIf chunk, 1..8
  std::size_t cut_at = 0;        // end of the last IDAT chunk, in a file that ends before IEND
  bool cut_in_checksum = false;  // of that chunk the checksum is missing
};

/// Walks all chunks (the orientation may come last). Throws Error(kFormat) naming `name`, the chunk and the byte where
/// a length or, if verified, the checksum of a critical chunk is wrong, or IHDR or IDAT is missing. A file that ends
/// after a whole IDAT chunk is no error: `cut_at` tells.
PngHeader read_png_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                          bool verify_checksums);

}  // namespace usol::io
