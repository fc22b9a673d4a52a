#include "usol/io/image.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "usol/io/image_exif.h"
#include "usol/io/image_jpeg.h"
#include "usol/io/image_png.h"
#include "usol/io/image_stb.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

enum class Codec { kJpeg, kPng, kStb, kNone };

struct Format {
  std::string_view name;
  Codec codec;
};

// Magic numbers at a byte offset; the first match wins. Formats without a codec are named in the error.
struct Magic {
  std::size_t offset;
  std::string_view bytes;
  Format format;
};
using namespace std::string_view_literals;
constexpr Magic kMagics[] = {
    {0, "\xFF\xD8"sv, {"JPEG", Codec::kJpeg}},
    {0, "\x89PNG\r\n\x1A\n"sv, {"PNG", Codec::kPng}},
    {0, "GIF87a"sv, {"GIF", Codec::kStb}},
    {0, "GIF89a"sv, {"GIF", Codec::kStb}},
    {0, "BM"sv, {"BMP", Codec::kStb}},
    {0, "8BPS"sv, {"PSD", Codec::kStb}},
    {0, "P5"sv, {"PGM", Codec::kStb}},
    {0, "P6"sv, {"PPM", Codec::kStb}},
    {8, "WEBP"sv, {"WebP", Codec::kNone}},
    {0, "II*\0"sv, {"TIFF", Codec::kNone}},
    {0, "MM\0*"sv, {"TIFF", Codec::kNone}},
    {0, "II+\0"sv, {"BigTIFF", Codec::kNone}},
    {0, "MM\0+"sv, {"BigTIFF", Codec::kNone}},
    {4, "ftypavif"sv, {"AVIF", Codec::kNone}},
    {4, "ftypavis"sv, {"AVIF", Codec::kNone}},
    {4, "ftypmif1"sv, {"HEIF", Codec::kNone}},
    {4, "ftypmsf1"sv, {"HEIF", Codec::kNone}},
    {4, "ftyphe"sv, {"HEIC", Codec::kNone}},
    {4, "ftyp"sv, {"ISO media (video)", Codec::kNone}},
    {0, "\0\0\0\x0CjP  "sv, {"JPEG 2000", Codec::kNone}},
    {0, "\xFF\x4F\xFF\x51"sv, {"JPEG 2000", Codec::kNone}},
    {0, "\xFF\x0A"sv, {"JPEG XL", Codec::kNone}},
    {0, "\0\0\0\x0CJXL "sv, {"JPEG XL", Codec::kNone}},
    {0, "\0\0\1\0"sv, {"ICO", Codec::kNone}},
    {0, "\x76\x2F\x31\x01"sv, {"OpenEXR", Codec::kNone}},
    {0, "#?RADIANCE"sv, {"Radiance HDR", Codec::kNone}},
    {0, "DDS "sv, {"DDS", Codec::kNone}},
    {0, "P1"sv, {"plain-text PBM", Codec::kNone}},
    {0, "P2"sv, {"plain-text PGM", Codec::kNone}},
    {0, "P3"sv, {"plain-text PPM", Codec::kNone}},
    {0, "P4"sv, {"PBM", Codec::kNone}},
    {0, "P7"sv, {"PAM", Codec::kNone}},
    {0, "%PDF"sv, {"PDF", Codec::kNone}},
    {0, "<svg"sv, {"SVG", Codec::kNone}},
    {0, "<?xml"sv, {"XML or SVG", Codec::kNone}},
    {0, "<!DOCTYPE"sv, {"a web page (HTML)", Codec::kNone}},
    {0, "<!doctype"sv, {"a web page (HTML)", Codec::kNone}},
    {0, "<html"sv, {"a web page (HTML)", Codec::kNone}},
    {0, "PK\3\4"sv, {"a zip archive", Codec::kNone}},
    {0, "\x1F\x8B"sv, {"a gzip archive", Codec::kNone}},
};

Format recognise(std::span<const std::byte> bytes, const std::string& name) {
  check(!bytes.empty(), ErrorKind::kFormat, "{}: the file is empty", name);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 64));
  for (const Magic& magic : kMagics) {
    if (text.size() < magic.offset || !text.substr(magic.offset).starts_with(magic.bytes)) continue;
    check(magic.format.codec != Codec::kNone, ErrorKind::kUnsupported,
          "{}: this is {}, which cannot be read here; convert it to JPEG or PNG", name, magic.format.name);
    return magic.format;
  }
  if (stb_recognises(bytes)) return {"TGA", Codec::kStb};
  std::string first;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    first += fmt::format(" {:02x}", std::to_integer<int>(b));
  }
  fail(ErrorKind::kFormat, fmt::format("{}: not an image of a known format; it begins with{}", name, first));
}

struct Header {
  ImageSize size;  // as stored
  int orientation = 1;
  bool grey16 = false;
};

Header read_header(const Format& format, std::span<const std::byte> bytes, const std::string& name,
                   const DecodeOptions& options, bool verify_checksums) {
  Header header;
  if (format.codec == Codec::kJpeg) {
    const JpegHeader jpeg = read_jpeg_header(bytes, name, options);
    header = {jpeg.size, jpeg.orientation, false};
  } else if (format.codec == Codec::kPng) {
    const PngHeader png = read_png_header(bytes, name, options, verify_checksums);
    header = {png.size, png.orientation, png.grey && png.bit_depth == 16};
  } else {
    header.size = stb_image_size(bytes, name, std::string(format.name));
  }
  // Every format keeps its sides below 2^31, so the product fits.
  const std::int64_t pixels = header.size.height * header.size.width;
  check(pixels <= options.max_pixels, ErrorKind::kUnsupported,
        "{}: {} header promises {} x {} = {} pixels, the limit is {}", name, format.name, header.size.width,
        header.size.height, pixels, options.max_pixels);
  if (!options.apply_exif) header.orientation = 1;
  return header;
}

Tensor decode_stored(const Format& format, const Header& header, std::span<const std::byte> bytes,
                     const std::string& name, const DecodeOptions& options) {
  if (format.codec == Codec::kJpeg) return decode_jpeg(bytes, name, options);
  if (!header.grey16) return decode_stb(bytes, name, std::string(format.name));
  bool clipped = false;
  Tensor image = decode_stb_grey16(bytes, name, clipped);
  if (clipped && options.warnings != nullptr) {
    options.warnings->push_back(fmt::format("{}: 16-bit grey values above 255 were clipped, as Pillow does", name));
  }
  return image;
}

}  // namespace

Tensor decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const Format format = recognise(bytes, name);
  const Header header = read_header(format, bytes, name, options, true);
  Tensor image = decode_stored(format, header, bytes, name, options);
  check(image.size(0) == header.size.height && image.size(1) == header.size.width, ErrorKind::kFormat,
        "{}: {} header says {} x {} pixels, decoding gave {} x {}", name, format.name, header.size.width,
        header.size.height, image.size(1), image.size(0));
  return apply_orientation(image, header.orientation);
}

Tensor decode_image(const std::filesystem::path& path, const DecodeOptions& options) {
  const SharedBytes file = map_file(path);
  return decode_image(file.bytes, file.name, options);
}

ImageSize image_size(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const Header header = read_header(recognise(bytes, name), bytes, name, options, false);
  return swaps_axes(header.orientation) ? ImageSize{header.size.width, header.size.height} : header.size;
}

ImageSize image_size(const std::filesystem::path& path, const DecodeOptions& options) {
  const SharedBytes file = map_file(path);
  return image_size(file.bytes, file.name, options);
}

}  // namespace usol
