#include "usol/io/image_stb.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "usol/io/image_codec.h"
#include "usol/tensor/check.h"

namespace {

// What stb may take for one picture at a time: a small file can unpack to gigabytes, whatever size its header promises.
// stb's allocator has no argument of ours, so the limit is the thread's.
struct Allowance {
  std::size_t largest = SIZE_MAX;  // bytes of one allocation
  bool exceeded = false;
};
thread_local Allowance allowance;

bool allowed(std::size_t bytes) {
  if (bytes <= allowance.largest) return true;
  allowance.exceeded = true;
  return false;
}
void* stb_allocate(std::size_t bytes) { return allowed(bytes) ? std::malloc(bytes) : nullptr; }
void* stb_reallocate(void* old, std::size_t bytes) { return allowed(bytes) ? std::realloc(old, bytes) : nullptr; }

}  // namespace

#define STBI_MALLOC stb_allocate
#define STBI_REALLOC stb_reallocate
#define STBI_FREE std::free
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_NO_PIC
#define STBI_NO_PNM
#define STBI_ASSERT(condition) ((void)0)
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif
#include <stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace usol::io {
namespace {

// stb reads zeros past the end of its input. This source notices such reads, so that they become errors.
struct Source {
  std::span<const std::byte> bytes;
  std::size_t at = 0;
  bool past_end = false;
};

// stb's own buffer. A read of this size is a refill, which may come back short; any other wants every byte.
constexpr int kRefill = 128;

int on_read(void* user, char* data, int size) {
  Source& source = *static_cast<Source*>(user);
  const std::size_t wanted = static_cast<std::size_t>(std::max(size, 0));
  const std::size_t got = std::min(wanted, source.bytes.size() - source.at);
  if (got > 0) std::memcpy(data, source.bytes.data() + source.at, got);
  source.at += got;
  if (got == 0 || (got < wanted && size != kRefill)) source.past_end = true;
  return static_cast<int>(got);
}
void on_skip(void* user, int count) {
  Source& source = *static_cast<Source*>(user);
  if (count < 0) {  // back into what was read
    source.at -= std::min(source.at, static_cast<std::size_t>(-static_cast<std::int64_t>(count)));
    return;
  }
  const std::size_t left = source.bytes.size() - source.at;
  if (static_cast<std::size_t>(count) > left) source.past_end = true;
  source.at += std::min(static_cast<std::size_t>(count), left);
}
int on_eof(void* user) {
  const Source& source = *static_cast<Source*>(user);
  return source.at >= source.bytes.size();
}
constexpr stbi_io_callbacks kCallbacks{on_read, on_skip, on_eof};

struct Release {
  void operator()(void* pixels) const { stbi_image_free(pixels); }
};

[[noreturn]] void fail_decoding(const Source& source, const std::string& name, const std::string& format) {
  const char* reason = stbi_failure_reason();
  check(!allowance.exceeded, ErrorKind::kFormat, "{}: {} data unpacks to far more than the size in its header", name,
        format);
  if (source.past_end) {
    fail(ErrorKind::kFormat, fmt::format("{}: {} data is cut off: the file ends at byte {}, before the image does",
                                         name, format, source.bytes.size()));
  }
  fail(ErrorKind::kFormat, fmt::format("{}: {} cannot be decoded near byte {}: {}", name, format, source.at,
                                       reason != nullptr ? reason : "unknown reason"));
}

// For the time of one decoding: sixteen bytes a pixel (two buffers of 16-bit RGBA), the file's own bytes as stb
// collects them, and what small pictures need for tables.
class LimitedAllowance {
 public:
  LimitedAllowance(const Size& size, std::size_t file_bytes) {
    allowance = {16 * static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width) + 4 * file_bytes +
                     (std::size_t{1} << 20),
                 false};
  }
  ~LimitedAllowance() { allowance = {}; }
  LimitedAllowance(const LimitedAllowance&) = delete;
  LimitedAllowance& operator=(const LimitedAllowance&) = delete;
};

// Little-endian number of `count` bytes at `at`; 0 past the end (stb or the length checks below then refuse the file).
std::int64_t little_endian(std::span<const std::byte> bytes, std::size_t at, std::size_t count) {
  if (at + count > bytes.size()) return 0;
  std::int64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value |= std::to_integer<std::int64_t>(bytes[at + i]) << (8 * i);
  return value;
}

// stb fills what is missing from uncompressed pixels with zeros or leaves it unset, so their length is checked first.
void check_pixel_bytes(std::span<const std::byte> bytes, std::int64_t offset, std::int64_t needed,
                       const std::string& name, const std::string& format) {
  const std::int64_t available = static_cast<std::int64_t>(bytes.size()) - offset;
  check(available >= needed, ErrorKind::kFormat,
        "{}: {} data is cut off: {} bytes of pixels should follow from byte {}, the file ends at byte {}", name, format,
        needed, offset, bytes.size());
}

struct BmpHeader {
  std::int64_t pixels, width, height, bits, compression;
};
BmpHeader bmp_header(std::span<const std::byte> bytes) {
  const std::int64_t pixels = little_endian(bytes, 10, 4);
  if (little_endian(bytes, 14, 4) == 12) {  // OS/2
    return {pixels, little_endian(bytes, 18, 2), little_endian(bytes, 20, 2), little_endian(bytes, 24, 2), 0};
  }
  const auto height = static_cast<std::int32_t>(little_endian(bytes, 22, 4));  // negative: top row first
  return {pixels, little_endian(bytes, 18, 4), std::abs(static_cast<std::int64_t>(height)), little_endian(bytes, 28, 2),
          little_endian(bytes, 30, 4)};
}

// Pillow scales the 5- and 6-bit fields of a 16-bit BMP by 255 / 31 and 255 / 63, rounded down; stb repeats their bits.
void rescale_bmp16(std::span<const std::byte> bytes, Tensor& image) {
  const bool green6 = bmp_header(bytes).compression == 3 && little_endian(bytes, 58, 4) == 0x07E0;
  std::uint8_t* value = image.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < image.numel(); ++i) {
    const bool six = green6 && i % 3 == 1;
    value[i] = static_cast<std::uint8_t>(six ? (value[i] >> 2) * 255 / 63 : (value[i] >> 3) * 255 / 31);
  }
}

// Pillow keeps the palette's colour under transparent pixels; stb leaves them black. So the flag is cleared: the low
// bit in the graphic control extensions before the first frame.
std::vector<std::byte> opaque_gif(std::span<const std::byte> bytes) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  const std::int64_t flags = little_endian(bytes, 10, 1);
  std::size_t at = 13 + ((flags & 0x80) != 0 ? std::size_t{6} << (flags & 7) : 0);
  while (at + 3 < copy.size() && copy[at] == std::byte{0x21}) {
    if (copy[at + 1] == std::byte{0xF9}) copy[at + 3] &= std::byte{0xFE};
    at += 2;
    while (at < copy.size() && copy[at] != std::byte{0}) at += 1 + std::to_integer<std::size_t>(copy[at]);
    ++at;
  }
  return copy;
}

// Pillow has black for indices beyond a palette; stb leaves them unset. So the file gets 256 entries.
std::vector<std::byte> whole_palette_bmp(std::span<const std::byte> bytes) {
  constexpr std::size_t kFileHeader = 14;
  const BmpHeader header = bmp_header(bytes);
  const auto info = static_cast<std::size_t>(little_endian(bytes, kFileHeader, 4));
  const std::size_t first = kFileHeader + info, size = std::size_t{256} * (info == 12 ? 3 : 4);
  const auto pixels = static_cast<std::size_t>(header.pixels);
  if (header.bits > 8 || pixels < first || pixels > bytes.size() || pixels - first >= size)
    return {bytes.begin(), bytes.end()};
  std::vector<std::byte> whole(bytes.begin(), bytes.begin() + header.pixels);
  whole.resize(first + size);
  for (std::size_t i = 0; i < 4; ++i) whole[10 + i] = static_cast<std::byte>((first + size) >> (8 * i));
  whole.insert(whole.end(), bytes.begin() + header.pixels, bytes.end());
  return whole;
}

void check_before_decoding(std::span<const std::byte> bytes, const Size& size, const std::string& name,
                           const std::string& format) {
  if (format == "BMP") {
    const BmpHeader header = bmp_header(bytes);
    check(header.compression == 0 || header.compression == 3, ErrorKind::kUnsupported,
          "{}: BMP with compression {}, expected an uncompressed one", name, header.compression);
    const std::int64_t row_bits = header.width * header.bits, row = (row_bits + 31) / 32 * 4;
    check_pixel_bytes(bytes, header.pixels, (header.height - 1) * row + (row_bits + 7) / 8, name, format);
  } else if (format == "TGA" && little_endian(bytes, 2, 1) < 8) {  // 9 to 11 are run-length coded
    const std::int64_t palette =
        little_endian(bytes, 1, 1) == 1 ? little_endian(bytes, 5, 2) * ((little_endian(bytes, 7, 1) + 7) / 8) : 0;
    check_pixel_bytes(bytes, 18 + little_endian(bytes, 0, 1) + palette,
                      size.height * size.width * ((little_endian(bytes, 16, 1) + 7) / 8), name, format);
  }
}

}  // namespace

Size stb_image_size(std::span<const std::byte> bytes, const std::string& name, const std::string& format) {
  Source source{bytes};
  int width = 0, height = 0, channels = 0;
  const int ok = stbi_info_from_callbacks(&kCallbacks, &source, &width, &height, &channels);
  if (format == "BMP") height = static_cast<int>(std::min<std::int64_t>(bmp_header(bytes).height, 1 << 30));
  if (ok == 0 || width < 1 || height < 1) fail_decoding(source, name, format);
  return {height, width};
}

bool stb_recognises(std::span<const std::byte> bytes) {
  // stb also takes a JPEG with fill bytes before its first marker; its JPEG reader must not see unchecked Huffman
  // tables.
  if (bytes.size() >= 2 && bytes[0] == std::byte{0xFF} && bytes[1] == std::byte{0xFF}) return false;
  Source source{bytes};
  int width = 0, height = 0, channels = 0;
  return stbi_info_from_callbacks(&kCallbacks, &source, &width, &height, &channels) != 0;
}

Tensor decode_stb(std::span<const std::byte> bytes, const std::string& name, const std::string& format) {
  const Size size = stb_image_size(bytes, name, format);
  check_before_decoding(bytes, size, name, format);
  const LimitedAllowance limit(size, bytes.size());
  const std::vector<std::byte> changed = format == "GIF"   ? opaque_gif(bytes)
                                         : format == "BMP" ? whole_palette_bmp(bytes)
                                                           : std::vector<std::byte>();
  Source source{changed.empty() ? bytes : changed};
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_uc, Release> pixels(
      stbi_load_from_callbacks(&kCallbacks, &source, &width, &height, &channels, 3));
  if (pixels == nullptr || source.past_end) fail_decoding(source, name, format);
  Tensor image = Tensor::empty({height, width, 3}, DType::kU8);
  std::memcpy(image.mutable_data<std::uint8_t>(), pixels.get(), static_cast<std::size_t>(image.numel()));
  if (format == "BMP" && bmp_header(bytes).bits == 16) rescale_bmp16(bytes, image);
  return image;
}

Tensor decode_stb_grey16(std::span<const std::byte> bytes, const std::string& name, bool scale, bool& clipped) {
  const LimitedAllowance limit(stb_image_size(bytes, name, "PNG"), bytes.size());
  Source source{bytes};
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_us, Release> values(
      stbi_load_16_from_callbacks(&kCallbacks, &source, &width, &height, &channels, 1));
  if (values == nullptr || source.past_end) fail_decoding(source, name, "PNG");
  Tensor image = Tensor::empty({height, width, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  clipped = false;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(width) * height; ++i) {
    const int value = values.get()[i];
    const auto grey = static_cast<std::uint8_t>(scale ? (value + 128) / 257 : std::min(value, 255));
    clipped = clipped || (!scale && value > 255);
    std::fill_n(out + 3 * i, 3, grey);
  }
  return image;
}

namespace {

template <char... kName>
const PictureCodec* stb_codec() {
  static constexpr char kFormat[] = {kName..., 0};
  static constexpr PictureCodec kCodec{
      [](std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) -> PictureHeader {
        return {stb_image_size(bytes, name, kFormat)};
      },
      [](std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
        return decode_stb(bytes, name, kFormat);
      }};
  return &kCodec;
}

}  // namespace

const PictureCodec* bmp_codec() { return stb_codec<'B', 'M', 'P'>(); }
const PictureCodec* gif_codec() { return stb_codec<'G', 'I', 'F'>(); }
const PictureCodec* tga_codec() { return stb_codec<'T', 'G', 'A'>(); }
const PictureCodec* psd_codec() { return stb_codec<'P', 'S', 'D'>(); }

}  // namespace usol::io
