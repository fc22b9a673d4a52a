#pragma once
// Image files in and out: the first step of every verb. Files become u8 [H, W, 3] RGB, with the pixels that Pillow's
// Image.open(f).convert("RGB") gives, because the reference pipeline reads images that way.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "usol/io/decode_warnings.h"
#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct DecodeOptions {
  /// Turn the image as its EXIF (or, without it, XMP) orientation says, like ImageOps.exif_transpose.
  bool apply_exif = true;
  /// Grey of more than 8 bits (PNG, TIFF, PGM) is scaled to 0..255 (value / 257 for 16 bits, rounded), instead of being
  /// clipped at 255 as Pillow's convert("RGB") does.
  bool scale_16bit = false;
  /// Headers that promise more pixels are an error before anything is allocated. The default is where Pillow stops.
  std::int64_t max_pixels = 178'956'970;
  /// If set, hears of each oddity of a file that decodes all the same. May be shared by threads.
  DecodeWarnings* warnings = nullptr;

  void warn(DecodeWarning kind, const std::string& name, const std::string& line) const {
    if (warnings != nullptr) warnings->add(kind, name, line);
  }
};

/// Decodes a file to u8 [H, W, 3] RGB. The format is told by content, never by name (io/image_formats.h lists them):
/// JPEG (baseline, progressive, grey, YCbCr, RGB, CMYK, YCCK), PNG (all kinds), BMP (uncompressed), GIF, TGA, PSD
/// (8-bit RGB), PBM, PGM and PPM (plain and binary, any maxval), and in a build with their libraries WebP, TIFF, AVIF
/// and HEIC. Of animations and files of several pages the first picture is taken.
///
/// As in Pillow, alpha is dropped (not composited), CMYK is inverted, palettes are looked up, 16-bit colour keeps its
/// high byte, grey of more than 8 bits is clipped at 255 unless `scale_16bit` (a warning says so), and a PNG whose last
/// chunks are missing is read if its pixels are there. TIFF is turned whatever `apply_exif` says, because Pillow does
/// so while it loads; HEIC too, where it is what pillow-heif does. JPEG needs libjpeg-turbo for exactly Pillow's
/// pixels; a build without it uses stb_image, which differs by up to 3 levels in 1-2 % of the samples. Known
/// differences: docs of io/image_stb.h, io/image_avif.cc and io/image_heic.cc.
///
/// Throws Error naming the file: kIo (cannot be read), kFormat (malformed or truncated, with the place),
/// kUnsupported (formats that this build cannot read, by name and with what would read them; more than max_pixels).
Tensor decode_image(const std::filesystem::path& path, const DecodeOptions& options = {});
/// As above from memory; `name` stands for the file in errors.
Tensor decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});

/// Size that decode_image would give, from the header alone. Throws as decode_image does for what the header shows.
Size image_size(const std::filesystem::path& path, const DecodeOptions& options = {});
Size image_size(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});

/// Encodes a CPU u8 image [H, W], [H, W, 1], [H, W, 3] RGB or [H, W, 4] RGBA as PNG. Throws Error on other inputs.
std::vector<std::byte> encode_png(const Tensor& image);
/// Encodes a CPU u8 image [H, W], [H, W, 1] or [H, W, 3] as JPEG; quality 1..100 (4:4:4 from 90, 4:2:0 below).
std::vector<std::byte> encode_jpeg(const Tensor& image, int quality = 90);
/// encode_* into a file, atomically. Throw Error(kIo) too.
void write_png(const std::filesystem::path& path, const Tensor& image);
void write_jpeg(const std::filesystem::path& path, const Tensor& image, int quality = 90);

}  // namespace usol::io
