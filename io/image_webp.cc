// WebP files by libwebp, Pillow's decoder: lossy, lossless, and the first frame of animations.
// Source: https://developers.google.com/speed/webp/docs/riff_container; the library's headers decode.h and demux.h.
#include "usol/io/image_codec.h"

#ifdef USOL_WITH_LIBWEBP

#include <webp/decode.h>
#include <webp/demux.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "usol/io/image_exif.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Demuxer = std::unique_ptr<WebPDemuxer, ReleasedBy<WebPDemuxDelete>>;

Demuxer open(std::span<const std::byte> bytes, const std::string& name) {
  const WebPData data{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  Demuxer demuxer(WebPDemuxPartial(&data, &state));
  check(state != WEBP_DEMUX_PARSE_ERROR && demuxer != nullptr, ErrorKind::kFormat,
        "{}: WebP header is malformed or cut off (the file has {} bytes)", name, bytes.size());
  check(state == WEBP_DEMUX_DONE, ErrorKind::kFormat,
        "{}: WebP data is cut off: the file ends at byte {}, before the image does", name, bytes.size());
  return demuxer;
}

// The body of the first chunk of this name; empty if there is none. Lives as long as the file's bytes.
std::span<const std::byte> chunk(const WebPDemuxer* demuxer, const char* name) {
  WebPChunkIterator found;
  std::memset(&found, 0, sizeof found);
  std::span<const std::byte> body;
  if (WebPDemuxGetChunk(demuxer, name, 1, &found) != 0)
    body = {reinterpret_cast<const std::byte*>(found.chunk.bytes), found.chunk.size};
  WebPDemuxReleaseChunkIterator(&found);
  return body;
}

PictureHeader webp_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  const Demuxer demuxer = open(bytes, name);
  PictureHeader header;
  header.size = {WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT),
                 WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH)};
  header.orientation = orientation_of(chunk(demuxer.get(), "EXIF"), chunk(demuxer.get(), "XMP "), name, options);
  return header;
}

Tensor decode_webp(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&) {
  const Demuxer demuxer = open(bytes, name);
  const std::int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT),
                     width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  WebPIterator frame;
  std::memset(&frame, 0, sizeof frame);
  const bool found = WebPDemuxGetFrame(demuxer.get(), 1, &frame) != 0;
  const std::unique_ptr<WebPIterator, ReleasedBy<WebPDemuxReleaseIterator>> release(&frame);
  check(found && frame.complete != 0 && frame.x_offset >= 0 && frame.y_offset >= 0 && frame.width > 0 &&
            frame.height > 0 && frame.x_offset + frame.width <= width && frame.y_offset + frame.height <= height,
        ErrorKind::kFormat, "{}: WebP without a whole first frame inside of its {} x {} pixels", name, width, height);
  const bool covers = frame.width == width && frame.height == height;
  // Around a smaller first frame an animation is transparent black.
  Tensor image = covers ? Tensor::empty({height, width, 3}, DType::kU8) : Tensor::zeros({height, width, 3}, DType::kU8);
  const std::int64_t stride = width * 3, first = frame.y_offset * stride + frame.x_offset * 3;
  const std::int64_t size = image.numel() - first;
  check(stride <= 0x7FFFFFFF, ErrorKind::kUnsupported, "{}: WebP of {} pixels a row", name, width);
  const std::uint8_t* done =
      WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, image.mutable_data<std::uint8_t>() + first,
                        static_cast<std::size_t>(size), static_cast<int>(stride));
  check(done != nullptr, ErrorKind::kFormat, "{}: WebP data is damaged or cut off", name);
  return image;
}

}  // namespace

const PictureCodec* webp_codec() {
  static constexpr PictureCodec kCodec{webp_header, decode_webp};
  return &kCodec;
}

}  // namespace usol::io

#else

namespace usol::io {
const PictureCodec* webp_codec() { return nullptr; }
}  // namespace usol::io

#endif
