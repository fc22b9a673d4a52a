#include "usol/io/image.h"

#include <utility>

#include "usol/io/image_codec.h"
#include "usol/io/image_exif.h"
#include "usol/io/image_formats.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

PictureHeader read_header(const ImageFormat& format, std::span<const std::byte> bytes, const std::string& name,
                          const DecodeOptions& options) {
  PictureHeader header = format.codec()->header(bytes, name, options);
  // Every format keeps its sides below 2^31, so the product fits.
  const std::int64_t pixels = header.size.height * header.size.width;
  check(pixels <= options.max_pixels, ErrorKind::kUnsupported,
        "{}: {} header promises {} x {} = {} pixels, the limit is {}", name, format.name, header.size.width,
        header.size.height, pixels, options.max_pixels);
  if (!options.apply_exif && !header.always_turned) header.orientation = 1;
  return header;
}

}  // namespace

Tensor decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const ImageFormat& format = recognise_image(bytes, name);
  const PictureHeader header = read_header(format, bytes, name, options);
  const Tensor image = format.codec()->decode(bytes, name, options);
  check(image.size(0) == header.size.height && image.size(1) == header.size.width, ErrorKind::kFormat,
        "{}: {} header says {} x {} pixels, decoding gave {} x {}", name, format.name, header.size.width,
        header.size.height, image.size(1), image.size(0));
  return apply_orientation(image, header.orientation);
}

Tensor decode_image(const std::filesystem::path& path, const DecodeOptions& options) {
  const SharedBytes file = map_file(path);
  return decode_image(file.bytes, file.name, options);
}

Size image_size(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const PictureHeader header = read_header(recognise_image(bytes, name), bytes, name, options);
  return swaps_axes(header.orientation) ? Size{header.size.width, header.size.height} : header.size;
}

Size image_size(const std::filesystem::path& path, const DecodeOptions& options) {
  const SharedBytes file = map_file(path);
  return image_size(file.bytes, file.name, options);
}

}  // namespace usol::io
