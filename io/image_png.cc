#include "usol/io/image_png.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "usol/io/image_codec.h"
#include "usol/io/image_exif.h"
#include "usol/io/image_stb.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::size_t kSignature = 8;  // bytes; the caller has recognised them
constexpr std::size_t kOverhead = 12;  // length, type and checksum of a chunk

std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return value;
}

// The CRC of ISO 3309, four bytes at a time.
struct CrcTables {
  std::array<std::array<std::uint32_t, 256>, 4> t{};
  constexpr CrcTables() {
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xEDB88320u ^ value >> 1 : value >> 1;
      t[0][i] = value;
    }
    for (std::uint32_t i = 0; i < 256; ++i) {
      for (std::size_t k = 1; k < 4; ++k) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    }
  }
};
constexpr CrcTables kCrc;

std::uint32_t crc(std::span<const std::byte> bytes) {
  std::uint32_t value = 0xFFFFFFFFu;
  std::size_t i = 0;
  const auto byte = [&](std::size_t at) { return std::to_integer<std::uint32_t>(bytes[at]); };
  for (; i + 4 <= bytes.size(); i += 4) {
    value ^= byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    value =
        kCrc.t[3][value & 255] ^ kCrc.t[2][value >> 8 & 255] ^ kCrc.t[1][value >> 16 & 255] ^ kCrc.t[0][value >> 24];
  }
  for (; i < bytes.size(); ++i) value = value >> 8 ^ kCrc.t[0][(value ^ byte(i)) & 255];
  return ~value;
}

}  // namespace

PngHeader read_png_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                          bool verify_checksums) {
  PngHeader header;
  std::size_t data_end = 0;  // of the last IDAT chunk
  bool indexed = false;
  for (std::size_t at = kSignature; true;) {
    // What comes after the pixels may be missing, as in Pillow: whether all of them are there, their decoder finds out.
    if (data_end > 0 && bytes.size() - at < kOverhead) {
      header.cut_at = data_end;
      return header;
    }
    check(bytes.size() - at >= kOverhead, ErrorKind::kFormat,
          "{}: PNG is cut off: the file ends at byte {}, where a chunk should begin at byte {}", name, bytes.size(),
          at);
    const std::uint32_t length = big_endian(bytes, at);
    std::string type(reinterpret_cast<const char*>(bytes.data()) + at + 4, 4);
    for (char& c : type) c = c >= ' ' && c <= '~' ? c : '?';
    const bool fits = bytes.size() - at - kOverhead >= length;
    const bool lacks_checksum = !fits && bytes.size() - at - 8 >= length;
    if (lacks_checksum && (type == "IDAT" || data_end > 0)) {
      header.cut_in_checksum = type == "IDAT";
      header.cut_at = header.cut_in_checksum ? at + 8 + length : data_end;
      return header;
    }
    check(fits, ErrorKind::kFormat, "{}: PNG chunk {} at byte {} says it has {} bytes; the file ends at byte {}", name,
          type, at, length, bytes.size());
    const auto body = bytes.subspan(at + 8, length);
    const bool critical = type[0] >= 'A' && type[0] <= 'Z';
    check(
        !critical || !verify_checksums || crc(bytes.subspan(at + 4, length + 4)) == big_endian(bytes, at + 8 + length),
        ErrorKind::kFormat, "{}: PNG chunk {} at byte {} is damaged: its checksum does not fit", name, type, at);
    if (at == kSignature) {
      check(type == "IHDR" && length == 13, ErrorKind::kFormat,
            "{}: PNG must begin with an IHDR chunk of 13 bytes, got {} of {} at byte {}", name, type, length, at);
      header.size = {big_endian(body, 4), big_endian(body, 0)};
      header.bit_depth = std::to_integer<int>(body[8]);
      header.grey = body[9] == std::byte{0};
      indexed = body[9] == std::byte{3};
      constexpr std::int64_t kMost = 0x7FFFFFFF;
      check(
          header.size.height > 0 && header.size.width > 0 && header.size.height <= kMost && header.size.width <= kMost,
          ErrorKind::kFormat, "{}: PNG header has size {} x {}, expected sides of 1 to 2^31 - 1", name,
          header.size.width, header.size.height);
    } else if (type == "PLTE" && indexed) {
      header.palette_at = at;
      header.palette_size = length;
    } else if (type == "eXIf") {
      const ExifOrientation found = exif_orientation(body);
      const int value = found.value.value_or(1);
      header.orientation = value >= 1 && value <= 8 ? value : 1;
      if (found.malformed && options.apply_exif) {
        options.warn(DecodeWarning::kBadExif, name,
                     fmt::format("{}: EXIF block at byte {} is malformed; no turn applied", name, at));
      }
    } else if (type == "IDAT") {
      data_end = at + kOverhead + length;
    } else if (type == "IEND") {
      check(data_end > 0, ErrorKind::kFormat, "{}: PNG ends at byte {} without an IDAT chunk", name, at);
      return header;
    }
    at += kOverhead + length;
  }
}

namespace {

constexpr std::size_t kWholePalette = 3 * 256;

// The file with black in the places that its palette lacks, as Pillow has it; stb leaves them unset.
std::vector<std::byte> with_whole_palette(std::span<const std::byte> bytes, const PngHeader& header) {
  const std::size_t end = header.palette_at + 8 + header.palette_size;
  std::vector<std::byte> whole(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(end));
  whole[header.palette_at + 2] = std::byte{kWholePalette >> 8};
  whole[header.palette_at + 3] = std::byte{kWholePalette & 0xFF};
  whole.resize(header.palette_at + 8 + kWholePalette);
  whole.insert(whole.end(), bytes.begin() + static_cast<std::ptrdiff_t>(end), bytes.end());
  return whole;  // its checksum has been verified, and nobody looks at it again
}

Tensor decode_pixels(std::span<const std::byte> bytes, const std::string& name, const PngHeader& header,
                     const DecodeOptions& options) {
  const bool lacks_colours = header.palette_at > 0 && header.palette_size % 3 == 0 &&
                             header.palette_size < std::min(kWholePalette, std::size_t{3} << header.bit_depth);
  if (lacks_colours) return decode_stb(with_whole_palette(bytes, header), name, "PNG");
  if (!header.grey || header.bit_depth != 16) return decode_stb(bytes, name, "PNG");
  bool clipped = false;
  Tensor image = decode_stb_grey16(bytes, name, options.scale_16bit, clipped);
  if (clipped) {
    options.warn(DecodeWarning::kDeepGrey, name,
                 fmt::format("{}: 16-bit grey values above 255 were clipped, as Pillow does", name));
  }
  return image;
}

// The file up to its last data, with the end that it lacks.
std::vector<std::byte> completed(std::span<const std::byte> bytes, const PngHeader& header) {
  constexpr unsigned char kEnd[] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};
  std::vector<std::byte> whole(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header.cut_at));
  // Where the cut went through the checksum of the last data, four bytes stand for it.
  if (header.cut_in_checksum) whole.resize(whole.size() + 4);
  for (const unsigned char c : kEnd) whole.push_back(std::byte{c});
  return whole;
}

Tensor decode_png(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  DecodeOptions silent = options;  // of EXIF the header has spoken
  silent.warnings = nullptr;
  const PngHeader header = read_png_header(bytes, name, silent, true);
  if (header.cut_at == 0) return decode_pixels(bytes, name, header, options);
  Tensor image;
  try {
    image = decode_pixels(completed(bytes, header), name, header, options);
  } catch (const Error&) {
    fail(ErrorKind::kFormat,
         fmt::format("{}: PNG is cut off: the file ends at byte {}, before the image does", name, bytes.size()));
  }
  options.warn(DecodeWarning::kDamagedData, name,
               fmt::format("{}: PNG is cut off at byte {}, behind its pixels", name, bytes.size()));
  return image;
}

}  // namespace

const PictureCodec* png_codec() {
  static constexpr PictureCodec kCodec{
      [](std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) -> PictureHeader {
        const PngHeader header = read_png_header(bytes, name, options, false);
        return {header.size, header.orientation};
      },
      decode_png};
  return &kCodec;
}

}  // namespace usol::io
