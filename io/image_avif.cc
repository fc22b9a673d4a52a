// AVIF files by libavif, Pillow's decoder: 8 to 12 bits, any subsampling, the first picture of a sequence. Samples are
// converted to RGB by the library.
// Source: AV1 Image File Format (AOMedia); ISO/IEC 23008-12 for the two transformations; the library's header avif.h.
#include "usol/io/image_codec.h"

#ifdef USOL_WITH_LIBAVIF

#include <avif/avif.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Decoder = std::unique_ptr<avifDecoder, ReleasedBy<avifDecoderDestroy>>;

void check_result(avifResult result, const avifDecoder* decoder, const std::string& name, std::size_t size) {
  check(result == AVIF_RESULT_OK, ErrorKind::kFormat, "{}: AVIF is damaged or cut off (the file has {} bytes): {}{}{}",
        name, size, avifResultToString(result), decoder->diag.error[0] != '\0' ? ": " : "", decoder->diag.error);
}

// `most_pixels` also limits what the coded data may say.
Decoder open(std::span<const std::byte> bytes, const std::string& name, std::int64_t most_pixels) {
  Decoder decoder(avifDecoderCreate());
  check(decoder != nullptr, ErrorKind::kFormat, "{}: libavif cannot be started", name);
  decoder->maxThreads = 1;
  decoder->ignoreXMP = AVIF_TRUE;
  // As Pillow has it: files without the property of sample depths, and with odd clean apertures, are read.
  decoder->strictFlags &= ~static_cast<avifStrictFlags>(AVIF_STRICT_PIXI_REQUIRED | AVIF_STRICT_CLAP_VALID);
  const std::int64_t most = std::min<std::int64_t>(most_pixels, AVIF_DEFAULT_IMAGE_SIZE_LIMIT);
  decoder->imageSizeLimit = static_cast<std::uint32_t>(std::max<std::int64_t>(most, 1));
  avifResult result =
      avifDecoderSetIOMemory(decoder.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (result == AVIF_RESULT_OK) result = avifDecoderParse(decoder.get());
  check_result(result, decoder.get(), name, bytes.size());
  return decoder;
}

// Quarter turns against the clock, then a mirror: as one of EXIF's eight.
int orientation_of(const avifImage& image) {
  const int turns = (image.transformFlags & AVIF_TRANSFORM_IROT) != 0 ? image.irot.angle & 3 : 0;
  if ((image.transformFlags & AVIF_TRANSFORM_IMIR) == 0) return std::array{1, 8, 3, 6}[static_cast<std::size_t>(turns)];
#if AVIF_VERSION >= 1000000
  const bool left_right = image.imir.axis == 1;
#else
  const bool left_right = image.imir.mode == 1;
#endif
  return left_right ? std::array{2, 7, 4, 5}[static_cast<std::size_t>(turns)]
                    : std::array{4, 5, 2, 7}[static_cast<std::size_t>(turns)];
}

PictureHeader avif_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  const Decoder decoder = open(bytes, name, AVIF_DEFAULT_IMAGE_SIZE_LIMIT);
  return {{decoder->image->height, decoder->image->width}, orientation_of(*decoder->image)};
}

Tensor decode_avif(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const Decoder decoder = open(bytes, name, options.max_pixels);
  check_result(avifDecoderNextImage(decoder.get()), decoder.get(), name, bytes.size());
  const avifImage& picture = *decoder->image;
  Tensor image = Tensor::empty({picture.height, picture.width, 3}, DType::kU8);
  avifRGBImage rgb;
  avifRGBImageSetDefaults(&rgb, decoder->image);
  rgb.depth = 8;
  // With alpha the library divides by it where it was multiplied in.
  const bool alpha = decoder->alphaPresent != 0;
  rgb.format = alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  const std::int64_t channels = alpha ? 4 : 3;
  std::vector<std::uint8_t> with_alpha(alpha ? static_cast<std::size_t>(image.numel() / 3 * 4) : 0);
  rgb.pixels = alpha ? with_alpha.data() : image.mutable_data<std::uint8_t>();
  rgb.rowBytes = static_cast<std::uint32_t>(picture.width * channels);
  check_result(avifImageYUVToRGB(decoder->image, &rgb), decoder.get(), name, bytes.size());
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < with_alpha.size(); ++i)
    if (i % 4 != 3) *out++ = with_alpha[i];
  return image;
}

}  // namespace

const PictureCodec* avif_codec() {
  static constexpr PictureCodec kCodec{avif_header, decode_avif};
  // The library may have been built without a decoder.
  return avifCodecName(AVIF_CODEC_CHOICE_AUTO, AVIF_CODEC_FLAG_CAN_DECODE) != nullptr ? &kCodec : nullptr;
}

}  // namespace usol::io

#else

namespace usol::io {
const PictureCodec* avif_codec() { return nullptr; }
}  // namespace usol::io

#endif
