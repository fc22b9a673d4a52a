// JPEG pixels. libjpeg reports errors by a longjmp out of its callbacks, so the functions between setjmp and the
// library hold no C++ objects: they fill a plain struct, and the error is thrown after they have returned.
#include "usol/io/image_jpeg.h"

#include "usol/io/image_samples.h"
#include "usol/io/image_stb.h"
#include "usol/tensor/check.h"

#ifdef USOL_WITH_LIBJPEG

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <vector>
// jerror.h needs jpeglib.h before it.
#include <jerror.h>

namespace usol::io {
namespace {

// The warnings of libjpeg that are errors here: the data ended before the image did.
bool is_truncation(int code) { return code == JWRN_JPEG_EOF; }

struct Decoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  std::jmp_buf on_error{};
  char message[JMSG_LENGTH_MAX] = {};  // of the error, or of the first warning
  bool truncated = false;
  std::uint8_t* row_cmyk = nullptr;

  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { jpeg_destroy_decompress(&info); }
};

Decoder& decoder_of(j_common_ptr info) { return *static_cast<Decoder*>(info->client_data); }

[[noreturn]] void leave(j_common_ptr info) {
  Decoder& decoder = decoder_of(info);
  (*info->err->format_message)(info, decoder.message);
  std::longjmp(decoder.on_error, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // a trace
  Decoder& decoder = decoder_of(info);
  if (is_truncation(info->err->msg_code)) {
    decoder.truncated = true;
    leave(info);
  }
  if (info->err->num_warnings++ == 0) (*info->err->format_message)(info, decoder.message);
}

bool begin(Decoder& decoder, const unsigned char* bytes, unsigned long size) {
  if (setjmp(decoder.on_error) != 0) return false;
  jpeg_create_decompress(&decoder.info);
  jpeg_mem_src(&decoder.info, bytes, size);
  jpeg_read_header(&decoder.info, TRUE);
  const bool four = decoder.info.jpeg_color_space == JCS_CMYK || decoder.info.jpeg_color_space == JCS_YCCK;
  decoder.info.out_color_space = four ? JCS_CMYK : JCS_RGB;
  decoder.info.dct_method = JDCT_ISLOW;
  decoder.info.do_fancy_upsampling = TRUE;
  return true;
}

// Adobe's files store inverted inks.
void inverted_cmyk_to_rgb(const std::uint8_t* cmyk, std::uint8_t* rgb, std::int64_t width) {
  for (std::int64_t x = 0; x < width; ++x) {
    for (int c = 0; c < 3; ++c) rgb[3 * x + c] = light_through(255 - cmyk[4 * x + c], cmyk[4 * x + 3]);
  }
}

bool read_rows(Decoder& decoder, std::uint8_t* rgb) {
  if (setjmp(decoder.on_error) != 0) return false;
  jpeg_start_decompress(&decoder.info);
  const std::int64_t width = decoder.info.output_width;
  while (decoder.info.output_scanline < decoder.info.output_height) {
    std::uint8_t* out = rgb + decoder.info.output_scanline * width * 3;
    JSAMPROW row = decoder.row_cmyk != nullptr ? decoder.row_cmyk : out;
    jpeg_read_scanlines(&decoder.info, &row, 1);
    if (decoder.row_cmyk != nullptr) inverted_cmyk_to_rgb(decoder.row_cmyk, out, width);
  }
  jpeg_finish_decompress(&decoder.info);
  return true;
}

[[noreturn]] void fail_decoding(const Decoder& decoder, std::size_t size, const std::string& name) {
  if (decoder.truncated) {
    fail(ErrorKind::kFormat,
         fmt::format("{}: JPEG data is cut off: the file ends at byte {}, before the image does{}", name, size,
                     decoder.info.output_height == 0
                         ? ""
                         : fmt::format(" (row {} of {})", decoder.info.output_scanline, decoder.info.output_height)));
  }
  const std::size_t left = decoder.info.src != nullptr ? decoder.info.src->bytes_in_buffer : size;
  fail(ErrorKind::kFormat,
       fmt::format("{}: JPEG cannot be decoded near byte {}: {}", name, size - std::min(left, size), decoder.message));
}

}  // namespace

Tensor decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  Decoder decoder;
  decoder.info.err = jpeg_std_error(&decoder.errors);
  decoder.info.client_data = &decoder;
  decoder.errors.error_exit = leave;
  decoder.errors.emit_message = on_message;
  if (!begin(decoder, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size())) {
    fail_decoding(decoder, bytes.size(), name);
  }
  const std::int64_t height = decoder.info.image_height, width = decoder.info.image_width;
  const int components = decoder.info.num_components;
  check(components == 1 || components == 3 || components == 4, ErrorKind::kUnsupported,
        "{}: JPEG with {} components, expected 1, 3 or 4", name, components);
  Tensor image = Tensor::empty({height, width, 3}, DType::kU8);
  std::vector<std::uint8_t> row_cmyk(components == 4 ? static_cast<std::size_t>(width) * 4 : 0);
  decoder.row_cmyk = row_cmyk.empty() ? nullptr : row_cmyk.data();
  if (!read_rows(decoder, image.mutable_data<std::uint8_t>())) fail_decoding(decoder, bytes.size(), name);
  if (decoder.errors.num_warnings > 0) {
    options.warn(DecodeWarning::kDamagedData, name, fmt::format("{}: JPEG decoder warns: {}", name, decoder.message));
  }
  return image;
}

}  // namespace usol::io

#else

namespace usol::io {
namespace {

// stb_image v2.27 writes past its tables when a Huffman table promises more than 256 codes, so those are refused first,
// in all segments of the file.
void check_huffman_tables(std::span<const std::byte> bytes, const std::string& name) {
  const auto byte = [&](std::size_t at) { return at < bytes.size() ? std::to_integer<std::size_t>(bytes[at]) : 0; };
  for (std::size_t at = 2; at + 4 <= bytes.size();) {
    const std::size_t marker = byte(at + 1);
    const bool stands_alone = marker == 0 || marker == 1 || marker == 0xFF || (marker >= 0xD0 && marker <= 0xD9);
    if (byte(at) != 0xFF || stands_alone) {  // entropy-coded data, a restart, or filling
      ++at;
      continue;
    }
    const std::size_t end = at + 2 + byte(at + 2) * 256 + byte(at + 3);
    for (std::size_t table = at + 4; marker == 0xC4 && table < end;) {
      std::size_t codes = 0;
      for (std::size_t i = 1; i <= 16; ++i) codes += byte(table + i);
      check(codes <= 256 && table + 17 + codes <= end && end <= bytes.size(), ErrorKind::kFormat,
            "{}: JPEG Huffman table at byte {} is malformed", name, table);
      table += 17 + codes;
    }
    at = end;
  }
}

}  // namespace

Tensor decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  check_huffman_tables(bytes, name);
  return decode_stb(bytes, name, "JPEG");
}

}  // namespace usol::io

#endif
