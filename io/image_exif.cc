#include "usol/io/image_exif.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::io {
namespace {

constexpr int kOrientationTag = 0x0112;
constexpr int kShort = 3, kLong = 4;  // TIFF field types

// Bounds-checked reads of a TIFF block in its own byte order.
class TiffReader {
 public:
  TiffReader(std::span<const std::byte> bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}
  std::optional<std::uint32_t> read(std::uint64_t offset, int count) const {
    if (offset > bytes_.size() || bytes_.size() - offset < static_cast<std::uint64_t>(count)) return std::nullopt;
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) {
      const int shift = 8 * (big_endian_ ? count - 1 - i : i);
      value |= std::to_integer<std::uint32_t>(bytes_[offset + i]) << shift;
    }
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  bool big_endian_;
};

}  // namespace

ExifOrientation exif_orientation(std::span<const std::byte> tiff) {
  constexpr ExifOrientation kMalformed{std::nullopt, true};
  if (tiff.size() < 8) return kMalformed;
  const std::string_view order(reinterpret_cast<const char*>(tiff.data()), 2);
  if (order != "II" && order != "MM") return kMalformed;
  const TiffReader reader(tiff, order == "MM");
  if (reader.read(2, 2) != 42u) return kMalformed;
  const std::uint64_t directory = *reader.read(4, 4);
  const auto entries = reader.read(directory, 2);
  if (!entries) return kMalformed;
  for (std::uint32_t i = 0; i < *entries; ++i) {
    const std::uint64_t entry = directory + 2 + 12ull * i;
    const auto tag = reader.read(entry, 2), type = reader.read(entry + 2, 2), count = reader.read(entry + 4, 4);
    if (!tag || !type || !count) return kMalformed;
    if (*tag != kOrientationTag) continue;
    if (*count != 1 || (*type != kShort && *type != kLong)) return kMalformed;
    const auto value = reader.read(entry + 8, *type == kShort ? 2 : 4);
    if (!value) return kMalformed;
    return {static_cast<int>(std::min(*value, 9u)), false};
  }
  return {};
}

std::optional<int> xmp_orientation(std::span<const std::byte> packet) {
  const std::string_view text(reinterpret_cast<const char*>(packet.data()), packet.size());
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = text.find(kName); at != text.npos; at = text.find(kName, at + 1)) {
    std::string_view rest = text.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

int orientation_of(std::span<const std::byte> exif, std::span<const std::byte> xmp, const std::string& name,
                   const DecodeOptions& options) {
  using namespace std::string_view_literals;
  constexpr std::string_view kPrefix = "Exif\0\0"sv;
  std::optional<int> found;
  if (!exif.empty()) {
    const std::string_view text(reinterpret_cast<const char*>(exif.data()), exif.size());
    const ExifOrientation tag = exif_orientation(text.starts_with(kPrefix) ? exif.subspan(kPrefix.size()) : exif);
    found = tag.value;
    if (tag.malformed && options.apply_exif) {
      options.warn(DecodeWarning::kBadExif, name, fmt::format("{}: EXIF block is malformed; no turn applied", name));
    }
  }
  if (!found && !xmp.empty()) found = xmp_orientation(xmp);
  const int value = found.value_or(1);
  return value >= 1 && value <= 8 ? value : 1;
}

bool swaps_axes(int orientation) { return orientation >= 5 && orientation <= 8; }

Tensor apply_orientation(const Tensor& image, int orientation) {
  check(image.rank() == 3 && image.dtype() == DType::kU8 && image.is_cpu() && image.is_contiguous(),
        "apply_orientation: expected a contiguous CPU u8 [H, W, C], got {} {}", image.dtype(), image.shape());
  if (orientation < 2 || orientation > 8) return image;
  const std::int64_t in_h = image.size(0), in_w = image.size(1), channels = image.size(2);
  const std::int64_t out_h = swaps_axes(orientation) ? in_w : in_h, out_w = swaps_axes(orientation) ? in_h : in_w;
  Tensor turned = Tensor::empty({out_h, out_w, channels}, DType::kU8);
  if (turned.numel() == 0) return turned;

  // Output (y, x) is input pixel first + y * down + x * right.
  const bool flip_rows = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool flip_columns = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::int64_t row = flip_rows ? -in_w : in_w, column = flip_columns ? -1 : 1;
  const std::int64_t first = (flip_rows ? (in_h - 1) * in_w : 0) + (flip_columns ? in_w - 1 : 0);
  const std::int64_t down = swaps_axes(orientation) ? column : row, right = swaps_axes(orientation) ? row : column;

  const std::uint8_t* in = image.data<std::uint8_t>();
  std::uint8_t* out = turned.mutable_data<std::uint8_t>();
  constexpr std::int64_t kTile = 32;  // keeps the input rows of a transposed tile in cache
  parallel_for(0, (out_h + kTile - 1) / kTile, 1, [&](std::int64_t tile_begin, std::int64_t tile_end) {
    for (std::int64_t tile = tile_begin; tile < tile_end; ++tile) {
      for (std::int64_t x0 = 0; x0 < out_w; x0 += kTile) {
        for (std::int64_t y = tile * kTile; y < std::min(out_h, (tile + 1) * kTile); ++y) {
          for (std::int64_t x = x0; x < std::min(out_w, x0 + kTile); ++x) {
            const std::uint8_t* from = in + (first + y * down + x * right) * channels;
            std::uint8_t* to = out + (y * out_w + x) * channels;
            for (std::int64_t c = 0; c < channels; ++c) to[c] = from[c];
          }
        }
      }
    }
  });
  return turned;
}

}  // namespace usol::io
