// HEIC (HEVC) files by libheif, as pillow-heif reads them: the primary picture, turned and cropped as its container
// says, whatever EXIF says. Samples are converted to RGB by the library; where chroma is halved (4:2:0), versions of it
// differ by a level.
// Source: ISO/IEC 23008-12; the library's header heif.h.
#include "usol/io/image_codec.h"

#ifdef USOL_WITH_LIBHEIF

#include <libheif/heif.h>

#include <cstdint>
#include <cstring>
#include <memory>

#include "usol/io/image_samples.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

struct Free {
  void operator()(heif_context* context) const { heif_context_free(context); }
  void operator()(const heif_image_handle* handle) const { heif_image_handle_release(handle); }
  void operator()(const heif_image* image) const { heif_image_release(image); }
  void operator()(heif_decoding_options* options) const { heif_decoding_options_free(options); }
};

struct Opened {
  std::unique_ptr<heif_context, Free> context;
  std::unique_ptr<const heif_image_handle, Free> handle;
};

void check_result(const heif_error& error, const std::string& name, std::size_t size) {
  // A picture that is cut off is decoded by some versions and reported by others; both are errors here.
  check(error.code == heif_error_Ok,
        error.code == heif_error_Unsupported_filetype || error.code == heif_error_Unsupported_feature ||
                error.code == heif_error_Plugin_loading_error
            ? ErrorKind::kUnsupported
            : ErrorKind::kFormat,
        "{}: HEIC cannot be decoded (the file has {} bytes): {}", name, size,
        error.message != nullptr ? error.message : "unknown reason");
}

Opened open(std::span<const std::byte> bytes, const std::string& name) {
  Opened opened;
  opened.context.reset(heif_context_alloc());
  check(opened.context != nullptr, ErrorKind::kFormat, "{}: libheif cannot be started", name);
  check_result(heif_context_read_from_memory_without_copy(opened.context.get(), bytes.data(), bytes.size(), nullptr),
               name, bytes.size());
  heif_image_handle* handle = nullptr;
  check_result(heif_context_get_primary_image_handle(opened.context.get(), &handle), name, bytes.size());
  opened.handle.reset(handle);
  return opened;
}

PictureHeader heic_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  const Opened opened = open(bytes, name);
  PictureHeader header;
  header.size = {heif_image_handle_get_height(opened.handle.get()), heif_image_handle_get_width(opened.handle.get())};
  check(header.size.height > 0 && header.size.width > 0, ErrorKind::kFormat, "{}: HEIC header has size {} x {}", name,
        header.size.width, header.size.height);
  return header;
}

Tensor decode_heic(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  const Opened opened = open(bytes, name);
  const bool alpha = heif_image_handle_has_alpha_channel(opened.handle.get()) != 0;
  const std::unique_ptr<heif_decoding_options, Free> how(heif_decoding_options_alloc());
  how->convert_hdr_to_8bit = 1;
  heif_image* decoded = nullptr;
  check_result(heif_decode_image(opened.handle.get(), &decoded, heif_colorspace_RGB,
                                 alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, how.get()),
               name, bytes.size());
  const std::unique_ptr<const heif_image, Free> picture(decoded);
  const std::int64_t height = heif_image_get_height(decoded, heif_channel_interleaved),
                     width = heif_image_get_width(decoded, heif_channel_interleaved), channels = alpha ? 4 : 3;
  int stride = 0;
  const std::uint8_t* rows = heif_image_get_plane_readonly(decoded, heif_channel_interleaved, &stride);
  check(rows != nullptr && height > 0 && width > 0 && stride >= width * channels, ErrorKind::kFormat,
        "{}: HEIC decodes to {} x {} pixels in rows of {} bytes", name, width, height, stride);
  const bool multiplied = alpha && heif_image_handle_is_premultiplied_alpha(opened.handle.get()) != 0;
  Tensor image = Tensor::empty({height, width, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* in = rows + y * stride;
    for (std::int64_t x = 0; x < width; ++x, in += channels)
      for (int c = 0; c < 3; ++c) *out++ = multiplied ? unmultiplied(in[c], in[3]) : in[c];
  }
  return image;
}

}  // namespace

const PictureCodec* heic_codec() {
  static constexpr PictureCodec kCodec{heic_header, decode_heic};
  // Decoders may be plugins of their own, which are found when the program runs.
  return heif_have_decoder_for_format(heif_compression_HEVC) != 0 ? &kCodec : nullptr;
}

}  // namespace usol::io

#else

namespace usol::io {
const PictureCodec* heic_codec() { return nullptr; }
}  // namespace usol::io

#endif
