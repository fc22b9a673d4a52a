#include "usol/io/image_formats.h"

#include <algorithm>
#include <cctype>

#include "usol/io/image_codec.h"
#include "usol/io/image_stb.h"
#include "usol/io/placeholder.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using namespace std::string_view_literals;

// Magic numbers at a byte offset; the first match wins.
struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view format;
};
constexpr Magic kMagics[] = {
    {0, "\xFF\xD8"sv, "JPEG"},
    {0, "\x89PNG\r\n\x1A\n"sv, "PNG"},
    {0, "GIF87a"sv, "GIF"},
    {0, "GIF89a"sv, "GIF"},
    {0, "BM"sv, "BMP"},
    {0, "8BPS"sv, "PSD"},
    {0, "P1"sv, "PNM"},
    {0, "P2"sv, "PNM"},
    {0, "P3"sv, "PNM"},
    {0, "P4"sv, "PNM"},
    {0, "P5"sv, "PNM"},
    {0, "P6"sv, "PNM"},
    {8, "WEBP"sv, "WebP"},
    {0, "II*\0"sv, "TIFF"},
    {0, "MM\0*"sv, "TIFF"},
    {0, "II+\0"sv, "TIFF"},
    {0, "MM\0+"sv, "TIFF"},
    {0, "\0\0\0\x0CjP  "sv, "JPEG 2000"},
    {0, "\xFF\x4F\xFF\x51"sv, "JPEG 2000"},
    {0, "\xFF\x0A"sv, "JPEG XL"},
    {0, "\0\0\0\x0CJXL "sv, "JPEG XL"},
    {0, "\0\0\1\0"sv, "ICO"},
    {0, "\x76\x2F\x31\x01"sv, "OpenEXR"},
    {0, "#?RADIANCE"sv, "Radiance HDR"},
    {0, "DDS "sv, "DDS"},
    {0, "P7"sv, "PAM"},
    {0, "%PDF"sv, "PDF"},
    {0, "<svg"sv, "SVG"},
    {0, "<?xml"sv, "XML or SVG"},
    {0, "PK\3\4"sv, "a zip archive"},
    {0, "\x1F\x8B"sv, "a gzip archive"},
};

std::vector<ImageFormat> make_formats() {
  return {
      {"JPEG", {".jpg", ".jpeg", ".jpe", ".jfif"}, jpeg_codec},
      {"PNG", {".png"}, png_codec},
      {"BMP", {".bmp"}, bmp_codec},
      {"GIF", {".gif"}, gif_codec},
      {"TGA", {".tga"}, tga_codec},
      {"PSD", {".psd"}, psd_codec},
      {"PNM", {".ppm", ".pgm", ".pbm", ".pnm"}, pnm_codec},
      {"WebP", {".webp"}, webp_codec, "libwebp", "libwebp-dev"},
      {"TIFF", {".tif", ".tiff"}, tiff_codec, "libtiff", "libtiff-dev"},
      {"AVIF", {".avif"}, avif_codec, "libavif", "libavif-dev"},
      {"HEIC", {".heic", ".heif"}, heic_codec, "libheif", "libheif-dev"},
      {"JPEG 2000", {".jp2"}},
      {"JPEG XL", {".jxl"}},
      {"ICO", {}},
      {"OpenEXR", {}},
      {"Radiance HDR", {}},
      {"DDS", {}},
      {"PAM", {}},
      {"PDF", {}},
      {"SVG", {}},
      {"XML or SVG", {}},
      {"ISO media (video)", {}},
      {"a zip archive", {}},
      {"a gzip archive", {}},
  };
}

const ImageFormat& format_named(std::string_view name) {
  const auto& all = image_formats();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const ImageFormat& format) { return format.name == name; });
  check(found != all.end(), "image formats: '{}' is none", name);
  return *found;
}

// AVIF and HEIC share their container and its brands ("mif1"); the list of compatible brands tells them apart.
std::string_view iso_format(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(text[i])); };
  const std::size_t box = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  std::string_view brands = text.substr(8, std::max<std::size_t>(box, 12) - 8);
  bool heif = false;
  for (std::size_t i = 0; i + 4 <= brands.size(); i += 4) {
    const std::string_view brand = brands.substr(i, 4);
    if (i == 4) continue;  // the version of the first brand
    if (brand == "avif" || brand == "avis") return "AVIF";
    heif = heif || brand == "mif1" || brand == "msf1" || brand.starts_with("he");
  }
  return heif ? "HEIC" : "ISO media (video)";
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

const std::vector<ImageFormat>& image_formats() {
  static const std::vector<ImageFormat> formats = make_formats();
  return formats;
}

const ImageFormat& recognise_image(std::span<const std::byte> bytes, const std::string& name) {
  check(!bytes.empty(), ErrorKind::kFormat, "{}: the file is empty", name);
  refuse_placeholder(bytes, name, "a picture");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 256));
  std::string_view found;
  for (const Magic& magic : kMagics) {
    if (text.size() < magic.offset || !text.substr(magic.offset).starts_with(magic.bytes)) continue;
    found = magic.format;
    break;
  }
  if (found.empty() && text.size() >= 12 && text.substr(4, 4) == "ftyp") found = iso_format(text);
  if (found.empty() && stb_recognises(bytes)) found = "TGA";
  if (!found.empty()) {
    const ImageFormat& format = format_named(found);
    check(format.codec != nullptr, ErrorKind::kUnsupported,
          "{}: this is {}, which cannot be read here; convert it to JPEG or PNG", name, format.name);
    check(format.readable(), ErrorKind::kUnsupported,
          "{}: this is {}, which this build cannot read: it is without {} (Debian's package {}); build with it, or "
          "convert the picture to PNG",
          name, format.name, format.library, format.package);
    return format;
  }
  std::string first;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    first += fmt::format(" {:02x}", std::to_integer<int>(b));
  }
  fail(ErrorKind::kFormat, fmt::format("{}: not an image of a known format; it begins with{}", name, first));
}

bool is_picture_name(const std::filesystem::path& path) {
  const std::string extension = lower(path.extension().string());
  return std::any_of(image_formats().begin(), image_formats().end(), [&](const ImageFormat& format) {
    return std::find(format.extensions.begin(), format.extensions.end(), extension) != format.extensions.end();
  });
}

std::string readable_formats() {
  std::string text;
  for (const ImageFormat& format : image_formats())
    if (format.readable()) text += (text.empty() ? "" : ", ") + std::string(format.name);
  return text;
}

}  // namespace usol::io
