// The markers of a JPEG file up to its first scan: size and orientation.
#include <optional>
#include <span>
#include <string_view>

#include "usol/io/image_codec.h"
#include "usol/io/image_exif.h"
#include "usol/io/image_jpeg.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::string_view kExif("Exif\0\0", 6);
constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);

bool is_start_of_frame(int marker) {  // C4, C8 and CC are Huffman tables, a reserved code and arithmetic conditioning
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}
bool stands_alone(int marker) { return marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8); }

bool starts_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(prefix);
}

class Walk {
 public:
  Walk(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options)
      : bytes_(bytes), name_(name), options_(options) {}

  JpegHeader run() {
    std::size_t at = 2;  // past the start-of-image marker
    while (true) {
      const std::size_t begin = at;
      while (byte(at, begin) != 0xFF) ++at;  // stray bytes between segments are skipped, as libjpeg does
      while (byte(at, begin) == 0xFF) ++at;
      const int marker = byte(at++, begin);
      if (marker == 0 || stands_alone(marker)) continue;
      if (marker == 0xDA || marker == 0xD9) break;  // first scan, or the end
      const std::size_t length = byte(at, begin) * 256u + byte(at + 1, begin);
      check(length >= 2 && bytes_.size() - at >= length, ErrorKind::kFormat,
            "{}: JPEG segment FF{:02X} at byte {} says it has {} bytes; the file ends at byte {}", name_, marker,
            at - 2, length, bytes_.size());
      segment(marker, at - 2, bytes_.subspan(at + 2, length - 2));
      at += length;
    }
    check(header_.size.height > 0, ErrorKind::kFormat, "{}: JPEG without a frame header (SOF) before byte {}", name_,
          bytes_.size());
    const int orientation = exif_ ? *exif_ : xmp_.value_or(1);
    header_.orientation = orientation >= 1 && orientation <= 8 ? orientation : 1;
    return header_;
  }

 private:
  int byte(std::size_t at, std::size_t begin) const {
    check(at < bytes_.size(), ErrorKind::kFormat,
          "{}: JPEG header is cut off: the segment at byte {} runs into the "
          "file's end at byte {}",
          name_, begin, bytes_.size());
    return std::to_integer<int>(bytes_[at]);
  }

  void segment(int marker, std::size_t begin, std::span<const std::byte> body) {
    if (is_start_of_frame(marker) && header_.size.height == 0) {
      check(body.size() >= 6, ErrorKind::kFormat, "{}: JPEG frame header at byte {} is too short", name_, begin);
      const auto number = [&](std::size_t i) {
        return std::to_integer<std::int64_t>(body[i]) * 256 + std::to_integer<std::int64_t>(body[i + 1]);
      };
      header_.size = {number(1), number(3)};
      check(header_.size.height > 0 && header_.size.width > 0, ErrorKind::kFormat,
            "{}: JPEG frame header at byte {} has size {} x {}", name_, begin, header_.size.width, header_.size.height);
    } else if (marker == 0xE1 && starts_with(body, kExif) && !exif_) {
      const ExifOrientation found = exif_orientation(body.subspan(kExif.size()));
      exif_ = found.value;
      if (found.malformed && options_.apply_exif) {
        options_.warn(DecodeWarning::kBadExif, name_,
                      fmt::format("{}: EXIF block at byte {} is malformed; no turn applied", name_, begin));
      }
    } else if (marker == 0xE1 && starts_with(body, kXmp) && !xmp_) {
      xmp_ = xmp_orientation(body.subspan(kXmp.size()));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  const DecodeOptions& options_;
  JpegHeader header_;
  std::optional<int> exif_, xmp_;
};

}  // namespace

JpegHeader read_jpeg_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  return Walk(bytes, name, options).run();
}

const PictureCodec* jpeg_codec() {
  static constexpr PictureCodec kCodec{
      [](std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) -> PictureHeader {
        const JpegHeader header = read_jpeg_header(bytes, name, options);
        return {header.size, header.orientation};
      },
      decode_jpeg};
  return &kCodec;
}

}  // namespace usol::io
