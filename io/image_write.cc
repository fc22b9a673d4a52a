// Writing images: PNG by stb_image_write, JPEG by libjpeg-turbo where found and stb_image_write otherwise.
#include "usol/io/atomic_file.h"
#include "usol/io/image.h"
#include "usol/tensor/check.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef USOL_WITH_LIBJPEG
#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#endif

namespace usol::io {
namespace {

struct Layout {
  int height, width, channels;
};

Layout checked(const Tensor& image, int max_channels, const char* op) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && (image.rank() == 2 || image.rank() == 3),
        "{}: expected a CPU u8 image [H, W] or [H, W, C], got {}", op,
        image.defined() ? fmt::format("{} {} on {}", image.dtype(), image.shape(), image.device())
                        : "an undefined tensor");
  const std::int64_t channels = image.rank() == 2 ? 1 : image.size(2);
  check((channels == 1 || channels == 3 || channels == 4) && channels <= max_channels,
        "{}: expected {} channels, got shape {}", op, max_channels == 4 ? "1, 3 or 4" : "1 or 3", image.shape());
  check(image.size(0) >= 1 && image.size(1) >= 1 && image.size(0) <= 65500 && image.size(1) <= 65500 &&
            image.numel() <= (1 << 30),
        "{}: expected sides of 1 to 65500 pixels and at most 2^30 samples, got shape {}", op, image.shape());
  return {static_cast<int>(image.size(0)), static_cast<int>(image.size(1)), static_cast<int>(channels)};
}

void append(void* user, void* data, int size) {
  auto& bytes = *static_cast<std::vector<std::byte>*>(user);
  const auto* from = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), from, from + size);
}

#ifdef USOL_WITH_LIBJPEG

struct Encoder {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  std::jmp_buf on_error{};
  char message[JMSG_LENGTH_MAX] = {};
  unsigned char* output = nullptr;  // malloc'ed by libjpeg
  unsigned long output_size = 0;

  Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() {
    jpeg_destroy_compress(&info);
    std::free(output);
  }
};

[[noreturn]] void leave(j_common_ptr info) {
  Encoder& encoder = *static_cast<Encoder*>(info->client_data);
  (*info->err->format_message)(info, encoder.message);
  std::longjmp(encoder.on_error, 1);
}
void ignore_message(j_common_ptr, int) {}

// Holds no C++ objects: libjpeg's errors leave it by longjmp.
bool compress(Encoder& encoder, const std::uint8_t* pixels, const Layout& layout, int quality) {
  if (setjmp(encoder.on_error) != 0) return false;
  jpeg_compress_struct& info = encoder.info;
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, &encoder.output, &encoder.output_size);
  info.image_height = static_cast<JDIMENSION>(layout.height);
  info.image_width = static_cast<JDIMENSION>(layout.width);
  info.input_components = layout.channels;
  info.in_color_space = layout.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  info.optimize_coding = TRUE;
  if (layout.channels == 3 && quality >= 90) info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(&info, TRUE);
  const std::size_t stride = static_cast<std::size_t>(layout.width) * layout.channels;
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(pixels + info.next_scanline * stride);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return true;
}

#endif

}  // namespace

std::vector<std::byte> encode_png(const Tensor& image) {
  const Layout layout = checked(image, 4, "encode_png");
  const Tensor dense = image.contiguous();
  std::vector<std::byte> bytes;
  const int ok = stbi_write_png_to_func(append, &bytes, layout.width, layout.height, layout.channels,
                                        dense.data<std::uint8_t>(), layout.width * layout.channels);
  check(ok != 0, ErrorKind::kOutOfMemory, "encode_png: no memory for an image of shape {}", image.shape());
  return bytes;
}

std::vector<std::byte> encode_jpeg(const Tensor& image, int quality) {
  const Layout layout = checked(image, 3, "encode_jpeg");
  check(quality >= 1 && quality <= 100, "encode_jpeg: expected a quality of 1 to 100, got {}", quality);
  const Tensor dense = image.contiguous();
  std::vector<std::byte> bytes;
#ifdef USOL_WITH_LIBJPEG
  Encoder encoder;
  encoder.info.err = jpeg_std_error(&encoder.errors);
  encoder.info.client_data = &encoder;
  encoder.errors.error_exit = leave;
  encoder.errors.emit_message = ignore_message;
  const bool ok = compress(encoder, dense.data<std::uint8_t>(), layout, quality);
  check(ok, ErrorKind::kOutOfMemory, "encode_jpeg: shape {}: {}", image.shape(), encoder.message);
  append(&bytes, encoder.output, static_cast<int>(encoder.output_size));
#else
  const int ok = stbi_write_jpg_to_func(append, &bytes, layout.width, layout.height, layout.channels,
                                        dense.data<std::uint8_t>(), quality);
  check(ok != 0, ErrorKind::kOutOfMemory, "encode_jpeg: no memory for an image of shape {}", image.shape());
#endif
  return bytes;
}

void write_png(const std::filesystem::path& path, const Tensor& image) { write_file(path, encode_png(image)); }

void write_jpeg(const std::filesystem::path& path, const Tensor& image, int quality) {
  write_file(path, encode_jpeg(image, quality));
}

}  // namespace usol::io
