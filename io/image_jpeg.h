#pragma once
// JPEG files: headers by our own marker walk, pixels by libjpeg-turbo (Pillow's decoder).
// Source: ITU-T T.81 annex B; Adobe technical note 5116 for CMYK.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "usol/io/image.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct JpegHeader {
  Size size;            // as stored, before turning
  int orientation = 1;  // 1..8
};

/// Reads the markers before the first scan. Throws Error(kFormat) naming `name` and the byte.
JpegHeader read_jpeg_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options);

/// Pixels as stored, u8 [H, W, 3] RGB. Throws Error naming `name` and the byte near which decoding failed.
/// With libjpeg-turbo: integer DCT, fancy upsampling. A build without it uses stb_image.
Tensor decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options);

}  // namespace usol::io
