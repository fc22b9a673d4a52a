// PBM, PGM and PPM: P1 to P3 as text, P4 to P6 binary, any maxval, read as Pillow's PpmImagePlugin reads them: values
// are scaled to 255 and rounded half to even; grey with a maxval above 255 is scaled to 65535 and then clipped, or
// scaled down with scale_16bit. Source: https://netpbm.sourceforge.net/doc/pbm.html and its neighbours.
#include <cmath>
#include <cstdint>
#include <string>

#include "usol/io/image_codec.h"
#include "usol/io/image_samples.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

struct PnmHeader {
  int kind = 0;  // 1 to 6
  Size size;
  std::int64_t maxval = 1;
  std::size_t data = 0;  // where the pixels begin

  bool plain() const { return kind <= 3; }
  bool bits() const { return kind == 1 || kind == 4; }
  std::int64_t channels() const { return kind == 3 || kind == 6 ? 3 : 1; }
  std::int64_t samples() const { return size.height * size.width * channels(); }
};

bool is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The words of the header and of plain pixels. Comments run from '#' to the end of the line.
class Words {
 public:
  Words(std::span<const std::byte> bytes, const std::string& name, std::size_t at)
      : bytes_(bytes), name_(name), at_(at) {}

  std::size_t at() const { return at_; }
  // The next number, with the one white space behind it.
  std::int64_t number() {
    std::int64_t value = 0;
    int digits = 0;
    while (true) {
      const int c = take();
      if (c == '#') {
        skip_comment();
      } else if (c < 0 || is_space(c)) {
        if (digits > 0) return value;
        if (c < 0) cut();
      } else {
        check(c >= '0' && c <= '9' && ++digits <= 10, ErrorKind::kFormat,
              "{}: PNM: expected a number of at most 10 digits at byte {}", name_, at_ - 1);
        value = value * 10 + (c - '0');
      }
    }
  }
  // The next '0' or '1' of a plain bitmap, which need no space between them.
  bool bit() {
    while (true) {
      const int c = take();
      if (c == '0' || c == '1') return c == '1';
      if (c < 0) cut();
      if (c == '#') {
        skip_comment();
      } else {
        check(is_space(c), ErrorKind::kFormat, "{}: PBM: expected 0 or 1 at byte {}", name_, at_ - 1);
      }
    }
  }

 private:
  int take() { return at_ < bytes_.size() ? std::to_integer<int>(bytes_[at_++]) : -1; }
  void skip_comment() {
    for (int c = take(); c >= 0 && c != '\n' && c != '\r';) c = take();
  }
  [[noreturn]] void cut() const {
    fail(ErrorKind::kFormat,
         fmt::format("{}: PNM data is cut off: the file ends at byte {}, before the image does", name_, bytes_.size()));
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::size_t at_;
};

PnmHeader read_pnm(std::span<const std::byte> bytes, const std::string& name) {
  PnmHeader header;
  check(bytes.size() > 2 && is_space(std::to_integer<int>(bytes[2])), ErrorKind::kFormat,
        "{}: not an image of a known format: white space must follow the P{} of a PNM file", name,
        bytes.size() > 1 ? std::to_integer<char>(bytes[1]) : ' ');
  header.kind = std::to_integer<int>(bytes[1]) - '0';
  Words words(bytes, name, 2);
  header.size.width = words.number();
  header.size.height = words.number();
  constexpr std::int64_t kMost = 0x7FFFFFFF;
  check(header.size.width >= 1 && header.size.height >= 1 && header.size.width <= kMost && header.size.height <= kMost,
        ErrorKind::kFormat, "{}: PNM header has size {} x {}, expected sides of 1 to 2^31 - 1", name, header.size.width,
        header.size.height);
  if (!header.bits()) {
    header.maxval = words.number();
    check(header.maxval >= 1 && header.maxval <= 65535, ErrorKind::kFormat,
          "{}: PNM with maxval {}, expected 1 to 65535", name, header.maxval);
  }
  header.data = words.at();
  return header;
}

PictureHeader pnm_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  return {read_pnm(bytes, name).size};
}

// A sample of 0 to maxval as 0 to 255.
class Scale {
 public:
  Scale(const PnmHeader& header, const DecodeOptions& options)
      : maxval_(static_cast<double>(header.maxval)),
        is_deep_(header.channels() == 1 && header.maxval > 255),
        is_plain_(header.plain()),
        deep_(options.scale_16bit, 65535) {}

  std::uint8_t operator()(std::int64_t value, const std::string& name) {
    check(!is_plain_ || value <= static_cast<std::int64_t>(maxval_), ErrorKind::kFormat,
          "{}: PNM: a sample of {} is above the maxval of {}", name, value, maxval_);
    const double part = static_cast<double>(value) / maxval_;
    if (!is_deep_) return static_cast<std::uint8_t>(std::min(255.0, std::nearbyint(part * 255)));
    return deep_(std::min(65535.0, std::nearbyint(part * 65535)));
  }
  void warn(const DecodeOptions& options, const std::string& name) const {
    deep_.warn(options, name, "grey of more than 8 bits");
  }

 private:
  double maxval_;
  bool is_deep_, is_plain_;
  DeepGrey deep_;
};

Tensor decode_pnm(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const PnmHeader header = read_pnm(bytes, name);
  const std::int64_t width = header.size.width, channels = header.channels(), sample = header.maxval > 255 ? 2 : 1;
  const auto left = static_cast<std::int64_t>(bytes.size() - header.data);
  // A plain file needs a digit for each bit, and a space beside it for other samples.
  const std::int64_t needed = header.kind == 1   ? header.samples()
                              : header.plain()   ? 2 * header.samples() - 1
                              : header.kind == 4 ? header.size.height * ((width + 7) / 8)
                                                 : header.samples() * sample;
  check(left >= needed, ErrorKind::kFormat,
        "{}: PNM data is cut off: {} bytes of pixels should follow from byte {}, the file ends at byte {}", name,
        needed, header.data, bytes.size());
  Tensor image = Tensor::empty({header.size.height, width, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  Words words(bytes, name, header.data);
  Scale scale(header, options);
  const std::byte* data = bytes.data() + header.data;
  std::size_t at = 0;
  for (std::int64_t y = 0; y < header.size.height; ++y) {
    for (std::int64_t x = 0; x < width; ++x, out += 3) {
      for (std::int64_t c = 0; c < channels; ++c) {
        if (header.kind == 1) {
          out[c] = words.bit() ? 0 : 255;
        } else if (header.kind == 4) {
          const auto byte = std::to_integer<unsigned>(data[y * ((width + 7) / 8) + x / 8]);
          out[c] = (byte >> (7 - x % 8) & 1) != 0 ? 0 : 255;
        } else if (header.plain()) {
          out[c] = scale(words.number(), name);
        } else if (header.maxval == 255) {
          out[c] = std::to_integer<std::uint8_t>(data[at++]);
        } else {
          std::int64_t value = std::to_integer<std::int64_t>(data[at++]);
          if (sample == 2) value = value << 8 | std::to_integer<std::int64_t>(data[at++]);
          out[c] = scale(value, name);
        }
      }
      if (channels == 1) out[1] = out[2] = out[0];
    }
  }
  scale.warn(options, name);
  return image;
}

}  // namespace

const PictureCodec* pnm_codec() {
  static constexpr PictureCodec kCodec{pnm_header, decode_pnm};
  return &kCodec;
}

}  // namespace usol::io
