#pragma once
// Image files in and out: the first step of every verb. Files become u8 [H, W, 3] RGB, with the pixels that Pillow's
// Image.open(f).convert("RGB") gives, because the reference pipeline reads images that way.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

struct DecodeOptions {
  /// Turn the image as its EXIF (or, without it, XMP) orientation says, like ImageOps.exif_transpose.
  bool apply_exif = true;
  /// Headers that promise more pixels are an error before anything is allocated. The default is where Pillow stops.
  std::int64_t max_pixels = 178'956'970;
  /// If set, gets one line for each oddity of a file that decodes all the same (damaged entropy-coded data,
  /// an unreadable EXIF block, 16-bit grey above 255).
  std::vector<std::string>* warnings = nullptr;
};

struct ImageSize {
  std::int64_t height = 0, width = 0;
  bool operator==(const ImageSize&) const = default;
};

/// Decodes a file to u8 [H, W, 3] RGB. The format is told by content, never by name: JPEG (baseline, progressive,
/// grey, YCbCr, RGB, CMYK, YCCK), PNG (all kinds), BMP (uncompressed), GIF (first frame), TGA, PSD (8-bit RGB), and
/// binary PGM/PPM with maxval 255.
///
/// As in Pillow, alpha is dropped (not composited), CMYK is inverted, palettes are looked up, 16-bit colour keeps its
/// high byte, and 16-bit grey PNG is clipped at 255 (a warning says so). JPEG needs libjpeg-turbo for exactly Pillow's
/// pixels; a build without it uses stb_image, which differs by up to 3 levels in 1-2 % of the samples.
/// Known differences: docs of io/image_stb.h.
///
/// Throws Error naming the file: kIo (cannot be read), kFormat (malformed or truncated, with the place),
/// kUnsupported (WebP, TIFF, HEIC, AVIF and others by name; more than max_pixels).
Tensor decode_image(const std::filesystem::path& path, const DecodeOptions& options = {});
/// As above from memory; `name` stands for the file in errors.
Tensor decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});

/// Size that decode_image would give, from the header alone. Throws as decode_image does for what the header shows.
ImageSize image_size(const std::filesystem::path& path, const DecodeOptions& options = {});
ImageSize image_size(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});

/// Encodes a CPU u8 image [H, W], [H, W, 1], [H, W, 3] RGB or [H, W, 4] RGBA as PNG. Throws Error on other inputs.
std::vector<std::byte> encode_png(const Tensor& image);
/// Encodes a CPU u8 image [H, W], [H, W, 1] or [H, W, 3] as JPEG; quality 1..100 (4:4:4 from 90, 4:2:0 below).
std::vector<std::byte> encode_jpeg(const Tensor& image, int quality = 90);
/// encode_* into a file, atomically. Throw Error(kIo) too.
void write_png(const std::filesystem::path& path, const Tensor& image);
void write_jpeg(const std::filesystem::path& path, const Tensor& image, int quality = 90);

}  // namespace usol
