// TIFF files by libtiff, as Pillow reads them: the first page, in strips or tiles, with the pixel layouts of Pillow's
// TiffImagePlugin. What Pillow does not read, or what would come out inverted there, is refused by name.
// Source: Adobe TIFF revision 6.0; libtiff's manual pages.
#include "usol/io/image_codec.h"

#ifdef USOL_WITH_LIBTIFF

#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "usol/io/image_exif.h"
#include "usol/io/image_samples.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

// The file's bytes under libtiff's calls, and what libtiff complained of.
struct Source {
  std::span<const std::byte> bytes;
  std::size_t at = 0;
  std::string error = {}, warning = {};
};

Source& source_of(void* handle) { return *static_cast<Source*>(handle); }

tmsize_t on_read(thandle_t handle, void* to, tmsize_t size) {
  Source& source = source_of(handle);
  const std::size_t left = source.bytes.size() - std::min(source.at, source.bytes.size());
  const std::size_t count = std::min(left, static_cast<std::size_t>(std::max<tmsize_t>(size, 0)));
  if (count > 0) std::memcpy(to, source.bytes.data() + source.at, count);
  source.at += count;
  return static_cast<tmsize_t>(count);
}
tmsize_t on_write(thandle_t, void*, tmsize_t) { return 0; }
toff_t on_seek(thandle_t handle, toff_t offset, int whence) {
  Source& source = source_of(handle);
  const toff_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? source.at : source.bytes.size();
  return source.at = static_cast<std::size_t>(from + offset);
}
int on_close(thandle_t) { return 0; }
toff_t on_size(thandle_t handle) { return source_of(handle).bytes.size(); }

std::string formatted(const char* format, va_list arguments) {
  char text[400];
  std::vsnprintf(text, sizeof text, format, arguments);
  return text;
}
int on_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  Source& source = source_of(user);
  if (source.error.empty()) source.error = formatted(format, arguments);
  return 1;
}
int on_warning(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  Source& source = source_of(user);
  if (source.warning.empty()) source.warning = formatted(format, arguments);
  return 1;
}

// Of one allocation inside libtiff, in bytes a pixel of the limit: eight samples of 32 bits.
constexpr std::int64_t kMostPixelBytes = 32;

using Tiff = std::unique_ptr<TIFF, ReleasedBy<TIFFClose>>;

Tiff open(Source& source, const std::string& name, const DecodeOptions& options) {
  const std::unique_ptr<TIFFOpenOptions, ReleasedBy<TIFFOpenOptionsFree>> opening(TIFFOpenOptionsAlloc());
  check(opening != nullptr, ErrorKind::kFormat, "{}: libtiff cannot be started", name);
  TIFFOpenOptionsSetErrorHandlerExtR(opening.get(), on_error, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(opening.get(), on_warning, &source);
  const std::int64_t most = std::min<std::int64_t>(options.max_pixels, std::int64_t{1} << 40) * kMostPixelBytes;
  TIFFOpenOptionsSetMaxSingleMemAlloc(opening.get(), most + (1 << 20));
  Tiff tiff(TIFFClientOpenExt("TIFF", "rm", &source, on_read, on_write, on_seek, on_close, on_size, nullptr, nullptr,
                              opening.get()));
  check(tiff != nullptr, ErrorKind::kFormat, "{}: TIFF cannot be opened (the file has {} bytes): {}", name,
        source.bytes.size(), source.error);
  return tiff;
}

[[noreturn]] void fail_decoding(const Source& source, const std::string& name) {
  fail(ErrorKind::kFormat,
       fmt::format("{}: TIFF data is damaged, cut off (the file ends at byte {}) or packed in a way "
                   "that libtiff was built without: {}",
                   name, source.bytes.size(), source.error));
}

template <class T>
T field(TIFF* tiff, std::uint32_t tag, T otherwise) {
  T value = otherwise;
  return TIFFGetFieldDefaulted(tiff, tag, &value) == 1 ? value : otherwise;
}

// What the tags say of the pixels.
struct Layout {
  std::int64_t height = 0, width = 0;
  int bits = 1, samples = 1, format = SAMPLEFORMAT_UINT, photometric = PHOTOMETRIC_MINISWHITE;
  int compression = COMPRESSION_NONE;
  bool planar = false;      // each sample has a plane of its own
  int extras = 0;           // samples behind the colour
  bool multiplied = false;  // the first of them is alpha that was multiplied into the colour

  int colours() const {
    switch (photometric) {
      case PHOTOMETRIC_RGB:
      case PHOTOMETRIC_YCBCR:
        return 3;
      case PHOTOMETRIC_SEPARATED:
        return 4;
      default:
        return 1;
    }
  }
  std::string text() const {
    return fmt::format("photometric interpretation {}, {} samples of {} bits, sample format {}", photometric, samples,
                       bits, format);
  }
};

Layout read_layout(TIFF* tiff, const std::string& name) {
  Layout layout;
  std::uint32_t width = 0, height = 0;
  check(TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width) == 1 && TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height) == 1 &&
            width > 0 && height > 0 && width <= 0x7FFFFFFF && height <= 0x7FFFFFFF,
        ErrorKind::kFormat, "{}: TIFF header has size {} x {}, expected sides of 1 to 2^31 - 1", name, width, height);
  layout.height = height;
  layout.width = width;
  layout.bits = field<std::uint16_t>(tiff, TIFFTAG_BITSPERSAMPLE, 1);
  layout.samples = field<std::uint16_t>(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
  layout.format = field<std::uint16_t>(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
  layout.compression = field<std::uint16_t>(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
  layout.planar = field<std::uint16_t>(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE;
  std::uint16_t photometric = PHOTOMETRIC_MINISWHITE;
  TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
  layout.photometric = photometric;
  std::uint16_t count = 0, *kinds = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) == 1 && count > 0) {
    layout.multiplied = kinds[0] == EXTRASAMPLE_ASSOCALPHA;
  }
  layout.extras = layout.samples - layout.colours();
  return layout;
}

PictureHeader tiff_header(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  Source source{bytes};
  const Tiff tiff = open(source, name, options);
  const Layout layout = read_layout(tiff.get(), name);
  PictureHeader header{{layout.height, layout.width}, 1, true};
  std::uint16_t tag = 0;
  std::uint32_t size = 0;
  void* xmp = nullptr;
  if (TIFFGetField(tiff.get(), TIFFTAG_ORIENTATION, &tag) == 1) {
    header.orientation = tag >= 1 && tag <= 8 ? tag : 1;
  } else if (TIFFGetField(tiff.get(), TIFFTAG_XMLPACKET, &size, &xmp) == 1 && xmp != nullptr) {
    header.orientation = orientation_of({}, {static_cast<const std::byte*>(xmp), size}, name, options);
  }
  return header;
}

// Refuses what Pillow refuses.
void check_layout(const Layout& layout, const std::string& name) {
  const int bits = layout.bits;
  const bool is_uint = layout.format == SAMPLEFORMAT_UINT;
  const bool whole_bytes = is_uint && (bits == 8 || bits == 16);
  bool known = false;
  switch (layout.photometric) {
    case PHOTOMETRIC_MINISWHITE:  // deep ones are not inverted by Pillow, so they are left out
      known = is_uint && layout.extras == 0 && (bits == 1 || bits == 2 || bits == 4 || bits == 8);
      break;
    case PHOTOMETRIC_MINISBLACK:
      known = (layout.extras == 0 && is_uint && (bits == 1 || bits == 2 || bits == 4 || bits == 12 || bits == 16)) ||
              (layout.extras == 0 && layout.format == SAMPLEFORMAT_INT && (bits == 16 || bits == 32)) ||
              (layout.extras == 0 && layout.format == SAMPLEFORMAT_IEEEFP && bits == 32) ||
              (layout.extras <= 1 && is_uint && bits == 8);
      break;
    case PHOTOMETRIC_RGB:
      known = whole_bytes && layout.extras <= (bits == 8 ? 3 : 1);
      break;
    case PHOTOMETRIC_PALETTE:
      known = is_uint && (bits == 1 || bits == 2 || bits == 4 || bits == 8) && layout.extras <= (bits == 8 ? 1 : 0);
      break;
    case PHOTOMETRIC_SEPARATED:
      known = whole_bytes && layout.extras <= (bits == 8 ? 2 : 0);
      break;
    case PHOTOMETRIC_YCBCR:
      known = is_uint && bits == 8 && layout.samples == 3;
      break;
    default:
      break;
  }
  check(known && layout.extras >= 0, ErrorKind::kUnsupported,
        "{}: this kind of TIFF ({}) cannot be read here; convert it to 8-bit RGB or grey", name, layout.text());
}

// libtiff's own conversion, as Pillow has it for YCbCr that is not JPEG.
Tensor read_rgba(TIFF* tiff, Source& source, const Layout& layout, const std::string& name) {
  TIFFRGBAImage how;
  char reason[1024] = {};
  if (TIFFRGBAImageOK(tiff, reason) == 0 || TIFFRGBAImageBegin(&how, tiff, 1, reason) == 0) {
    source.error = reason;
    fail_decoding(source, name);
  }
  const std::unique_ptr<TIFFRGBAImage, ReleasedBy<TIFFRGBAImageEnd>> end(&how);
  how.req_orientation = how.orientation;  // as stored
  std::vector<std::uint32_t> raster(static_cast<std::size_t>(layout.height * layout.width));
  if (TIFFRGBAImageGet(&how, raster.data(), static_cast<std::uint32_t>(layout.width),
                       static_cast<std::uint32_t>(layout.height)) == 0)
    fail_decoding(source, name);
  Tensor image = Tensor::empty({layout.height, layout.width, 3}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (const std::uint32_t pixel : raster) {
    *out++ = static_cast<std::uint8_t>(TIFFGetR(pixel));
    *out++ = static_cast<std::uint8_t>(TIFFGetG(pixel));
    *out++ = static_cast<std::uint8_t>(TIFFGetB(pixel));
  }
  return image;
}

// Sample `i` of a row. `bits` up to 16 are packed from the highest bit on, as libtiff leaves them; 16 and 32 bits are
// in the machine's order.
double sample_at(const std::uint8_t* row, std::int64_t i, const Layout& layout) {
  const auto load = [&](auto value) {
    std::memcpy(&value, row + i * static_cast<std::int64_t>(sizeof value), sizeof value);
    return static_cast<double>(value);
  };
  switch (layout.bits) {
    case 8:
      return row[i];
    case 16:
      return layout.format == SAMPLEFORMAT_INT ? load(std::int16_t{}) : load(std::uint16_t{});
    case 32:
      return layout.format == SAMPLEFORMAT_IEEEFP ? load(float{}) : load(std::int32_t{});
    default: {
      std::uint32_t value = 0;
      for (std::int64_t bit = i * layout.bits; bit < (i + 1) * layout.bits; ++bit)
        value = value << 1 | (row[bit / 8] >> (7 - bit % 8) & 1u);
      return value;
    }
  }
}

// Writes samples into a picture of [samples, H, W] or [H, W, samples] bytes, block by block, and turns them into RGB.
class Assembly {
 public:
  Assembly(TIFF* tiff, const Layout& layout, const std::string& name, const DecodeOptions& options)
      : layout_(layout),
        name_(name),
        options_(options),
        deep_(options.scale_16bit, highest(layout)),
        image_(Tensor::empty({layout.height, layout.width, 3}, DType::kU8)),
        wanted_(layout.colours() + (layout.multiplied && layout.extras > 0 ? 1 : 0)) {
    if (layout.photometric == PHOTOMETRIC_PALETTE) {
      std::uint16_t* maps[3] = {};
      check(TIFFGetField(tiff, TIFFTAG_COLORMAP, &maps[0], &maps[1], &maps[2]) == 1, ErrorKind::kFormat,
            "{}: TIFF with a palette that is missing", name);
      for (const std::uint16_t* map : maps)
        for (int i = 0; i < 1 << layout.bits; ++i) palette_.push_back(static_cast<std::uint8_t>(map[i] / 256));
    }
    // One byte a sample until all planes are there.
    if (layout.planar && wanted_ > 1)
      planes_.resize(static_cast<std::size_t>(layout.height * layout.width) * static_cast<std::size_t>(wanted_));
  }

  int wanted_samples() const { return wanted_; }

  // A block of `rows` x `columns` pixels at (y, x), whose rows begin `stride` bytes apart. `plane`: which sample, of
  // planar files.
  void add(const std::uint8_t* block, std::int64_t stride, std::int64_t y, std::int64_t x, std::int64_t rows,
           std::int64_t columns, int plane) {
    std::vector<std::uint8_t> pixel(static_cast<std::size_t>(wanted_));
    const bool are_bytes = layout_.bits == 8 && layout_.colours() == 3 && wanted_ == 3 && !layout_.planar;
    for (std::int64_t r = 0; r < rows; ++r, block += stride) {
      if (are_bytes) {
        std::uint8_t* out = image_.mutable_data<std::uint8_t>() + 3 * ((y + r) * layout_.width + x);
        for (std::int64_t c = 0; c < columns; ++c, out += 3) std::memcpy(out, block + c * layout_.samples, 3);
        continue;
      }
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t place = (y + r) * layout_.width + x + c;
        if (!planes_.empty()) {
          planes_[static_cast<std::size_t>(place * wanted_ + plane)] = byte_of(sample_at(block, c, layout_));
          continue;
        }
        const int step = layout_.planar ? 1 : layout_.samples;
        for (int s = 0; s < wanted_; ++s)
          pixel[static_cast<std::size_t>(s)] = byte_of(sample_at(block, c * step + s, layout_));
        put(place, pixel.data());
      }
    }
  }

  Tensor finish() {
    for (std::int64_t place = 0; !planes_.empty() && place < layout_.height * layout_.width; ++place)
      put(place, planes_.data() + place * wanted_);
    deep_.warn(options_, name_, fmt::format("{}-bit grey", layout_.bits));
    return image_;
  }

 private:
  static double highest(const Layout& layout) {
    if (layout.format == SAMPLEFORMAT_IEEEFP) return 1;
    const int bits = layout.bits - (layout.format == SAMPLEFORMAT_INT ? 1 : 0);
    return static_cast<double>((std::int64_t{1} << bits) - 1);
  }

  // A sample as the byte that Pillow's modes keep of it; an index stays one.
  std::uint8_t byte_of(double value) {
    if (layout_.photometric == PHOTOMETRIC_PALETTE || layout_.bits == 8) return static_cast<std::uint8_t>(value);
    if (layout_.colours() > 1) return static_cast<std::uint8_t>(static_cast<int>(value) >> 8);
    if (layout_.bits < 8) return static_cast<std::uint8_t>(static_cast<int>(value) * 255 / ((1 << layout_.bits) - 1));
    return deep_(value);
  }

  void put(std::int64_t place, const std::uint8_t* sample) {
    std::uint8_t* out = image_.mutable_data<std::uint8_t>() + 3 * place;
    switch (layout_.photometric) {
      case PHOTOMETRIC_PALETTE: {
        const std::size_t entries = palette_.size() / 3;
        for (std::size_t c = 0; c < 3; ++c) out[c] = palette_[c * entries + sample[0]];
        break;
      }
      case PHOTOMETRIC_SEPARATED:
        for (int c = 0; c < 3; ++c) out[c] = light_through(sample[c], 255 - sample[3]);
        break;
      case PHOTOMETRIC_MINISWHITE:
        for (int c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(255 - sample[0]);
        break;
      default: {
        const int colours = layout_.colours();
        for (int c = 0; c < 3; ++c) {
          out[c] = sample[colours == 3 ? c : 0];
          if (wanted_ > colours) out[c] = unmultiplied(out[c], sample[colours]);
        }
      }
    }
  }

  const Layout& layout_;
  const std::string& name_;
  const DecodeOptions& options_;
  DeepGrey deep_;
  Tensor image_;
  int wanted_;  // samples of a pixel that decide its colour
  std::vector<std::uint8_t> palette_, planes_;
};

Tensor read_blocks(TIFF* tiff, Source& source, const Layout& layout, const std::string& name,
                   const DecodeOptions& options) {
  Assembly assembly(tiff, layout, name, options);
  const bool tiled = TIFFIsTiled(tiff) != 0;
  const std::int64_t most = std::max<std::int64_t>(options.max_pixels, 1 << 20);  // a tile may exceed its picture
  std::int64_t rows = layout.height, columns = layout.width;
  if (tiled) {
    rows = field<std::uint32_t>(tiff, TIFFTAG_TILELENGTH, 0);
    columns = field<std::uint32_t>(tiff, TIFFTAG_TILEWIDTH, 0);
  } else {
    rows = std::min<std::int64_t>(rows, field<std::uint32_t>(tiff, TIFFTAG_ROWSPERSTRIP, 0xFFFFFFFF));
  }
  check(rows > 0 && columns > 0 && rows <= 0x7FFFFFFF && columns <= 0x7FFFFFFF && rows * columns <= most,
        ErrorKind::kUnsupported, "{}: TIFF in blocks of {} x {} pixels, the limit is {}", name, columns, rows, most);
  const std::int64_t size = tiled ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff);
  const std::int64_t stride = tiled ? TIFFTileRowSize64(tiff) : TIFFScanlineSize64(tiff);
  const std::int64_t row_bits = columns * layout.bits * (layout.planar ? 1 : layout.samples);
  check(stride >= (row_bits + 7) / 8 && size >= rows * stride && size <= rows * columns * kMostPixelBytes + (1 << 20),
        ErrorKind::kFormat, "{}: TIFF with blocks of {} bytes in rows of {}, which do not fit its size", name, size,
        stride);
  std::vector<std::uint8_t> block(static_cast<std::size_t>(size));
  const std::int64_t across = (layout.width + columns - 1) / columns, down = (layout.height + rows - 1) / rows;
  for (int plane = 0; plane < (layout.planar ? assembly.wanted_samples() : 1); ++plane) {
    for (std::int64_t index = 0; index < across * down; ++index) {
      const auto number = static_cast<std::uint32_t>(plane * across * down + index);
      const std::int64_t y = index / across * rows, x = index % across * columns;
      const std::int64_t height = std::min(rows, layout.height - y), width = std::min(columns, layout.width - x);
      // The last strip is as short as the picture.
      const std::int64_t needed = tiled ? size : height * stride;
      const tmsize_t got = tiled ? TIFFReadEncodedTile(tiff, number, block.data(), needed)
                                 : TIFFReadEncodedStrip(tiff, number, block.data(), needed);
      if (got < needed) fail_decoding(source, name);
      assembly.add(block.data(), stride, y, x, height, width, plane);
    }
  }
  return assembly.finish();
}

Tensor decode_tiff(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  Source source{bytes};
  const Tiff tiff = open(source, name, options);
  const Layout layout = read_layout(tiff.get(), name);
  check_layout(layout, name);
  const bool jpeg = layout.compression == COMPRESSION_JPEG && !layout.planar;
  if (layout.photometric == PHOTOMETRIC_YCBCR && jpeg) {
    TIFFSetField(tiff.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  } else if (layout.photometric == PHOTOMETRIC_YCBCR || layout.compression == COMPRESSION_OJPEG) {
    return read_rgba(tiff.get(), source, layout, name);
  }
  Tensor image = read_blocks(tiff.get(), source, layout, name, options);
  // libtiff also warns of tags that mean nothing to the pixels; an error that it passed over is damage.
  if (!source.error.empty()) {
    options.warn(DecodeWarning::kDamagedData, name, fmt::format("{}: libtiff says: {}", name, source.error));
  }
  return image;
}

}  // namespace

const PictureCodec* tiff_codec() {
  static constexpr PictureCodec kCodec{tiff_header, decode_tiff};
  return &kCodec;
}

}  // namespace usol::io

#else

namespace usol::io {
const PictureCodec* tiff_codec() { return nullptr; }
}  // namespace usol::io

#endif
