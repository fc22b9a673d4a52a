#pragma once
// What decode_image() asks of the decoders of one format each (io/image_webp.cc and its kin). A decoder whose library
// this build is without is a null pointer, so that nothing else needs to know.

#include <cstddef>
#include <span>
#include <string>

#include "usol/io/image.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// std::unique_ptr<T, ReleasedBy<f>>: an object of a C library, which takes it back by f.
template <auto release>
struct ReleasedBy {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};

struct PictureHeader {
  Size size;                   // as stored, before turning
  int orientation = 1;         // 1..8, as in EXIF
  bool always_turned = false;  // Pillow turns this format's pictures while it loads them, whatever is asked for
};

struct PictureCodec {
  /// Reads the header alone. Throws Error(kFormat) naming `name`. Warnings are given here or by `decode`, never by
  /// both.
  PictureHeader (*header)(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options);
  /// Pixels as stored, u8 [H, W, 3] RGB; called after `header`, whose size was within the limit. Throws Error naming
  /// `name`: kFormat (damaged, cut off), kUnsupported (a kind of pixels that Pillow does not read or that is refused).
  Tensor (*decode)(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options);
};

const PictureCodec* jpeg_codec();
const PictureCodec* png_codec();
/// BMP, GIF, TGA and PSD by stb_image.
const PictureCodec* bmp_codec();
const PictureCodec* gif_codec();
const PictureCodec* tga_codec();
const PictureCodec* psd_codec();
/// PBM, PGM and PPM, plain and binary.
const PictureCodec* pnm_codec();
/// Null in a build without the library: libwebp, libtiff, libavif, libheif (with a decoder of HEVC).
const PictureCodec* webp_codec();
const PictureCodec* tiff_codec();
const PictureCodec* avif_codec();
const PictureCodec* heic_codec();

}  // namespace usol::io
