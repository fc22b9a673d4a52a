#include "usol/io/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image_exif.h"
#include "usol/io/image_stb.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  const std::byte* data = tensor.contiguous().raw();
  return {data, data + tensor.numel()};
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

std::vector<std::uint8_t> pixels(const Tensor& image) { return image.to_vector<std::uint8_t>(); }

struct Case {
  std::vector<std::byte> file;
  Tensor stored, turned;  // without and with EXIF
};

// Every file of the golden set, by name.
const std::map<std::string, Case>& cases() {
  static const auto* loaded = [] {
    const auto tensors = test::load_golden("image.safetensors");
    auto* all = new std::map<std::string, Case>;
    for (const auto& [key, tensor] : tensors) {
      if (!key.ends_with(".file")) continue;
      const std::string name = key.substr(0, key.size() - 5);
      const Tensor stored = tensors.at(name + ".rgb");
      (*all)[name] = {bytes_of(tensor), stored,
                      tensors.contains(name + ".turned") ? tensors.at(name + ".turned") : stored};
    }
    return all;
  }();
  return *loaded;
}

struct Failure {
  ErrorKind kind = ErrorKind::kUsage;
  std::string message;
};
Failure failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}
Failure decoding_failure(const std::vector<std::byte>& file) {
  return failure_of([&] { decode_image(file, "photo.jpg"); });
}

// The place of a four-letter word in a file.
std::size_t find(const std::vector<std::byte>& file, std::string_view word) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  return text.find(word);
}

TEST(Image, PixelsArePillows) {
  EXPECT_EQ(cases().size(), 82u);
  for (const auto& [name, expected] : cases()) {
    SCOPED_TRACE(name);
    DecodeOptions as_stored;
    as_stored.apply_exif = false;
    const Tensor stored = decode_image(expected.file, name, as_stored), turned = decode_image(expected.file, name);
    ASSERT_EQ(stored.shape(), expected.stored.shape());
    ASSERT_EQ(turned.shape(), expected.turned.shape());
#ifndef USOL_WITH_LIBJPEG
    if (name.starts_with("jpeg")) continue;
#endif
    EXPECT_EQ(pixels(stored), pixels(expected.stored));
    EXPECT_EQ(pixels(turned), pixels(expected.turned));
  }
}

TEST(Image, SizeFromTheHeaderIsTheDecodedSize) {
  for (const auto& [name, expected] : cases()) {
    SCOPED_TRACE(name);
    DecodeOptions as_stored;
    as_stored.apply_exif = false;
    EXPECT_EQ(image_size(expected.file, name, as_stored), (Size{expected.stored.size(0), expected.stored.size(1)}));
    EXPECT_EQ(image_size(expected.file, name), (Size{expected.turned.size(0), expected.turned.size(1)}));
  }
}

TEST(Image, StbReadsJpegNearly) {  // what a build without libjpeg does
  for (const auto& [name, expected] : cases()) {
    // At one column libjpeg repeats chroma samples, stb still interpolates them; quality 3 has coarse steps everywhere.
    if (!name.starts_with("jpeg") || name == "jpeg_rough" || name == "jpeg_one_column") continue;
    SCOPED_TRACE(name);
    const auto ours = pixels(decode_stb(expected.file, name, "JPEG")), pillow = pixels(expected.stored);
    ASSERT_EQ(ours.size(), pillow.size());
    double sum = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) sum += std::abs(int{ours[i]} - int{pillow[i]});
    EXPECT_LT(sum / static_cast<double>(ours.size()), 1.0);
  }
}

TEST(Image, BundledPicturesFromDisk) {
  const Tensor cat = decode_image(test::source_path("tests/pictures/chelsea.jpg"));
  EXPECT_EQ(cat.shape(), (Shape{300, 451, 3}));
  EXPECT_EQ(image_size(test::source_path("tests/pictures/rocket.jpg")), (Size{427, 640}));
  EXPECT_THAT(failure_of([] { decode_image("/nonexistent/a.jpg"); }).message, HasSubstr("/nonexistent/a.jpg"));
}

TEST(Image, WarningsTellOfOddFiles) {
  DecodeWarnings warnings;
  DecodeOptions options;
  options.warnings = &warnings;
  decode_image(cases().at("png_grey_16").file, "deep.png", options);
  ASSERT_EQ(warnings.groups().size(), 1u);
  EXPECT_EQ(warnings.groups()[0].kind, DecodeWarning::kDeepGrey);
  EXPECT_THAT(warnings.groups()[0].first_lines, ElementsAre(HasSubstr("deep.png: 16-bit grey")));

  auto file = cases().at("jpeg_exif_6").file;
  file[find(file, "Exif") + 6] = std::byte{'X'};  // no byte order any more
  const Tensor image = decode_image(file, "photo.jpg", options);
  EXPECT_EQ(pixels(image), pixels(decode_image(cases().at("jpeg_exif_1").file, "photo.jpg")));
  ASSERT_EQ(warnings.groups().size(), 2u);
  EXPECT_EQ(warnings.groups()[1].kind, DecodeWarning::kBadExif);
  EXPECT_THAT(warnings.groups()[1].first_lines, ElementsAre(HasSubstr("photo.jpg: EXIF block at byte")));
}

// ---- malformed files ----

TEST(Image, EveryTruncationIsAnErrorOrHarmless) {
  for (const auto& [name, expected] : cases()) {
    SCOPED_TRACE(name);
    const std::size_t step = std::max<std::size_t>(1, expected.file.size() / 150);
    for (std::size_t size = 0; size<expected.file.size(); size += size + 80> expected.file.size() ? 1 : step) {
      const std::vector<std::byte> cut(expected.file.begin(),
                                       expected.file.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        const Tensor image = decode_image(cut, "photo.jpg");
        // A PNG whose last chunks are missing may have lost its turn with them, never its pixels.
        const bool as_stored = name.starts_with("png") && image.shape() == expected.stored.shape();
        ASSERT_EQ(pixels(image), pixels(as_stored ? expected.stored : expected.turned))
            << "silently wrong after " << size << " bytes";
        ASSERT_FALSE(name.starts_with("jpeg")) << "accepted after " << size << " bytes";
      } catch (const Error& error) {
        ASSERT_THAT(error.what(), HasSubstr("photo.jpg"));
      }
    }
  }
}

TEST(Image, TruncationNamesThePlace) {
  const auto cut = [](const std::string& name, std::size_t size) {
    auto file = cases().at(name).file;
    file.resize(size);
    const Failure failure = decoding_failure(file);
    EXPECT_EQ(failure.kind, ErrorKind::kFormat);
    EXPECT_THAT(failure.message, HasSubstr("cut off"));
    return failure.message;
  };
  const std::size_t jpeg = cases().at("jpeg_420").file.size();
  EXPECT_THAT(cut("jpeg_420", jpeg - 2),
              HasSubstr("JPEG data is cut off: the file ends at byte " + std::to_string(jpeg - 2)));
  EXPECT_THAT(cut("jpeg_420", 3), HasSubstr("JPEG header is cut off"));
  EXPECT_THAT(cut("png_rgb_8", find(cases().at("png_rgb_8").file, "IDAT") - 4),
              HasSubstr("a chunk should begin at byte"));
  EXPECT_THAT(cut("bmp_rgb", 300), HasSubstr("BMP data is cut off"));
  EXPECT_THAT(cut("ppm", 300), HasSubstr("PNM data is cut off"));
  EXPECT_THAT(cut("tga_rgb", 300), HasSubstr("TGA data is cut off"));
  EXPECT_THAT(cut("tga_rle", 60), HasSubstr("TGA data is cut off"));
  EXPECT_THAT(cut("psd", 300), HasSubstr("PSD data is cut off"));
  EXPECT_THAT(cut("gif", cases().at("gif").file.size() - 20), HasSubstr("GIF data is cut off"));
}

TEST(Image, RandomDamageNeverCrashes) {
  std::mt19937 random(7);
  int decoded = 0, refused = 0;
  for (const auto& [name, expected] : cases()) {
    for (int round = 0; round < 60; ++round) {
      auto file = expected.file;
      const int flips = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < flips; ++i) {
        // Half of the damage goes to the header, where the sizes are.
        const std::size_t range = random() % 2 == 0 ? std::min<std::size_t>(file.size(), 64) : file.size();
        file[random() % range] = static_cast<std::byte>(random());
      }
      DecodeOptions options;
      options.max_pixels = 1 << 22;  // damaged sizes would only cost time
      try {
        decode_image(file, name, options);
        ++decoded;
      } catch (const Error& error) {
        ++refused;
        ASSERT_THAT(error.what(), HasSubstr(name));
      }
    }
  }
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 100);
}

TEST(Image, DamagedPngChunkIsNamed) {
  auto file = cases().at("png_rgb_8").file;
  file[find(file, "IDAT") + 9] ^= std::byte{1};
  EXPECT_THAT(decoding_failure(file).message, HasSubstr("PNG chunk IDAT at byte 33 is damaged"));
  // The size is known all the same.
  EXPECT_EQ(image_size(file, "photo.png"), (Size{9, 13}));
}

TEST(Image, DamagedJpegDataDecodesWithAWarning) {
#ifdef USOL_WITH_LIBJPEG
  auto file = cases().at("jpeg_444").file;
  file[file.size() - 200] = std::byte{0xFF};  // an end-of-image marker amid the data
  file[file.size() - 199] = std::byte{0xD9};
  DecodeWarnings warnings;
  DecodeOptions options;
  options.warnings = &warnings;
  EXPECT_EQ(decode_image(file, "photo.jpg", options).shape(), (Shape{23, 37, 3}));
  ASSERT_EQ(warnings.groups().size(), 1u);
  EXPECT_EQ(warnings.groups()[0].kind, DecodeWarning::kDamagedData);
  EXPECT_THAT(warnings.groups()[0].first_lines, ElementsAre(HasSubstr("photo.jpg: JPEG decoder warns: ")));
#endif
}

std::vector<std::byte> from_hex(const std::string& digits) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  return bytes;
}

// Four pixels, the indices 1, 0, 2 and 255; Pillow gives these values.
TEST(Image, IndicesBeyondThePaletteAreBlack) {
  const std::vector<std::uint8_t> expected{40, 50, 60, 10, 20, 30, 0, 0, 0, 0, 0, 0};
  const auto png = from_hex(
      "89504e470d0a1a0a0000000d4948445200000004000000010803000000cee2ffff00000006504c54450a141e28323cd51bb4e90000000d49"
      "44"
      "4154789c63606460fa0f00010c0103028c836c0000000049454e44ae426082");
  EXPECT_EQ(pixels(decode_image(png, "a.png")), expected);
  EXPECT_EQ(pixels(decode_image({png.data(), png.size() - 12}, "cut.png")), expected);
  const auto bmp = from_hex(
      "424d42000000000000003e000000280000000400000001000000010008000000000000000000000000000000000002000000000000001e14"
      "0a"
      "003c322800010002ff");
  EXPECT_EQ(pixels(decode_image(bmp, "a.bmp")), expected);
}

TEST(Image, OverfullHuffmanTableIsRefused) {
  auto file = cases().at("jpeg_420").file;
  const std::size_t table = find(file, "\xFF\xC4");
  for (std::size_t i = 0; i < 16; ++i) file[table + 5 + i] = std::byte{0xFF};
  const Failure failure = decoding_failure(file);
  EXPECT_EQ(failure.kind, ErrorKind::kFormat);
  EXPECT_THAT(failure.message, HasSubstr("photo.jpg: JPEG"));
}

TEST(Image, HugeHeadersAreRefusedBeforeAllocating) {
  auto jpeg = cases().at("jpeg_420").file;
  const std::size_t frame = find(jpeg, "\xFF\xC0");
  for (const std::size_t i : {5, 7}) {
    jpeg[frame + i] = std::byte{0xEA};  // 60000
    jpeg[frame + i + 1] = std::byte{0x60};
  }
  const Failure failure = decoding_failure(jpeg);
  EXPECT_EQ(failure.kind, ErrorKind::kUnsupported);
  EXPECT_THAT(failure.message,
              HasSubstr("photo.jpg: JPEG header promises 60000 x 60000 = 3600000000 pixels, the limit is 178956970"));

  DecodeOptions small;
  small.max_pixels = 23 * 37 - 1;
  EXPECT_THROW(decode_image(cases().at("jpeg_420").file, "photo.jpg", small), Error);
  small.max_pixels = 23 * 37;
  EXPECT_EQ(decode_image(cases().at("jpeg_420").file, "photo.jpg", small).size(0), 23);

  auto png = cases().at("png_rgb_8").file;
  for (const std::size_t i : {16, 20}) png[i] = std::byte{0xFF};  // above 2^31: the product would overflow
  EXPECT_THAT(failure_of([&] { image_size(png, "photo.png"); }).message, HasSubstr("expected sides of 1 to 2^31 - 1"));

  png = cases().at("png_rgb_8").file;
  for (const std::size_t i : {16, 20}) {
    png[i + 2] = std::byte{0xEA};
    png[i + 3] = std::byte{0x60};
  }
  EXPECT_THAT(failure_of([&] { image_size(png, "photo.png"); }).message,
              HasSubstr("PNG header promises 60000 x 60000 = 3600000000 pixels, the limit is 178956970"));

  std::string bmp("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\x27\0\0\x10\x27\0\0\x01\0\x18\0", 30);  // 10000 x 10000
  bmp.resize(80, '\0');
  EXPECT_THAT(decoding_failure(bytes_of(bmp)).message, HasSubstr("BMP data is cut off: 300000000 bytes"));
}

// 64 pixels in the header, 48 million bytes in the data.
TEST(Image, APngThatUnpacksToMoreThanItPromisesIsRefused) {
  auto bomb = encode_png(Tensor::zeros({4000, 4000, 3}, DType::kU8));
  EXPECT_LT(bomb.size(), 1u << 20);
  for (const std::size_t i : {16, 20}) {
    std::fill_n(bomb.begin() + static_cast<std::ptrdiff_t>(i), 3, std::byte{0});
    bomb[i + 3] = std::byte{8};
  }
  std::uint32_t crc = 0xffffffff;
  for (std::size_t i = 12; i < 29; ++i) {
    crc ^= std::to_integer<std::uint32_t>(bomb[i]);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  for (std::size_t i = 0; i < 4; ++i) bomb[29 + i] = static_cast<std::byte>(~crc >> (24 - 8 * i));
  const Failure failure = failure_of([&] { decode_image(bomb, "bomb.png"); });
  EXPECT_EQ(failure.kind, ErrorKind::kFormat);
  EXPECT_THAT(failure.message, HasSubstr("bomb.png: PNG data unpacks to far more than the size in its header"));
}

TEST(Image, UnreadableFormatsAreNamed) {
  using namespace std::string_view_literals;
  const std::pair<std::string_view, std::string> kinds[] = {
      {"\0\0\0\x0CjP  \r\n\x87\n"sv, "JPEG 2000"},
      {"\xFF\x0A\x10\x20"sv, "JPEG XL"},
      {"P7\nWIDTH 1\n"sv, "PAM"},
      {"\0\0\0\x18"
       "ftypisom\0\0\0\0"sv,
       "ISO media (video)"},
  };
  for (const auto& [magic, format] : kinds) {
    const Failure failure = decoding_failure(bytes_of(magic));
    EXPECT_EQ(failure.kind, ErrorKind::kUnsupported) << format;
    EXPECT_THAT(failure.message, HasSubstr("photo.jpg: this is " + format));
  }
  EXPECT_THAT(decoding_failure(bytes_of("<!DOCTYPE html><html>")).message,
              HasSubstr("photo.jpg: this is a web page (HTML), not a picture"));
  EXPECT_THAT(decoding_failure(bytes_of("version https://git-lfs.github.com/spec/v1\nsize 5\n")).message,
              HasSubstr("photo.jpg: this is a git-LFS pointer, not a picture"));
  EXPECT_THAT(decoding_failure({}).message, HasSubstr("the file is empty"));
  EXPECT_THAT(decoding_failure(bytes_of("hello, world")).message, HasSubstr("it begins with 68 65 6c 6c 6f 2c 20 77"));
}

// ---- EXIF blocks ----

TEST(ImageExif, ReadsBothByteOrdersAndRefusesNonsense) {
  using namespace std::string_view_literals;
  const auto value = [](std::string_view block) { return exif_orientation(bytes_of(block)).value; };
  const auto malformed = [](std::string_view block) { return exif_orientation(bytes_of(block)).malformed; };
  constexpr auto kLittle = "II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"sv;
  EXPECT_EQ(value(kLittle), 6);
  EXPECT_EQ(value("MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"sv), 6);
  EXPECT_EQ(value("II*\0\x08\0\0\0\0\0"sv), std::nullopt);
  EXPECT_FALSE(malformed("II*\0\x08\0\0\0\0\0"sv));
  for (std::size_t size = 0; size < 20; ++size) EXPECT_TRUE(malformed(kLittle.substr(0, size))) << size;
  EXPECT_TRUE(malformed("II*\0\xFF\xFF\xFF\xFF\1\0"sv));                              // directory outside
  EXPECT_TRUE(malformed("II*\0\x08\0\0\0\xFF\xFF\x0F\1\3\0\1\0\0\0\6\0\0\0"sv));      // more entries than bytes
  EXPECT_TRUE(malformed("II*\0\x08\0\0\0\1\0\x12\1\3\0\xFF\xFF\xFF\xFF\6\0\0\0"sv));  // count
  EXPECT_EQ(xmp_orientation(bytes_of("<tiff:Orientation>5</tiff:Orientation>")), 5);
  EXPECT_EQ(xmp_orientation(bytes_of("tiff:Orientation")), std::nullopt);
  EXPECT_EQ(xmp_orientation(bytes_of("tiff:Orientation=\"")), std::nullopt);
}

TEST(ImageExif, TurnsAreEachOthersInverses) {
  Tensor image = Tensor::empty({70, 45, 3}, DType::kU8);  // more than one tile
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7);
  const int inverse[] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Tensor turned = apply_orientation(image, orientation);
    EXPECT_EQ(turned.size(0), swaps_axes(orientation) ? 45 : 70);
    EXPECT_EQ(pixels(apply_orientation(turned, inverse[orientation])), pixels(image)) << orientation;
    EXPECT_EQ(pixels(turned) == pixels(image), orientation == 1) << orientation;
  }
}

// ---- writing ----

TEST(Image, PngRoundTrips) {
  const test::TempDir folder;
  const Tensor cat = decode_image(test::source_path("tests/pictures/chelsea.jpg"));
  write_png(folder / "cat.png", cat);
  EXPECT_EQ(pixels(decode_image(folder / "cat.png")), pixels(cat));
  // A strided view and a mask.
  const Tensor part = cat.slice(0, 10, 30).slice(1, 5, 60);
  EXPECT_EQ(pixels(decode_image(encode_png(part), "part")), pixels(part));
  const Tensor mask = Tensor::from<std::uint8_t>({0, 255, 7, 128, 1, 2}, {2, 3});
  EXPECT_EQ(pixels(decode_image(encode_png(mask), "mask").select(2, 1)), pixels(mask));
}

TEST(Image, JpegRoundTripsNearly) {
  const test::TempDir folder;
  const Tensor cup = decode_image(test::source_path("tests/pictures/coffee.jpg"));
  // Mean differences that Pillow's encoder has on this picture: 0.60 and 3.52.
  for (const auto& [quality, bound] : std::map<int, double>{{95, 0.7}, {75, 3.6}}) {
    write_jpeg(folder / "cup.jpg", cup, quality);
    const auto before = pixels(cup), after = pixels(decode_image(folder / "cup.jpg"));
    ASSERT_EQ(before.size(), after.size());
    double sum = 0;
    for (std::size_t i = 0; i < before.size(); ++i) sum += std::abs(int{before[i]} - int{after[i]});
    EXPECT_LT(sum / static_cast<double>(before.size()), bound) << quality;
  }
  EXPECT_LT(encode_jpeg(cup, 30).size(), encode_jpeg(cup, 95).size());
  const Tensor grey = cup.select(2, 0);
  EXPECT_EQ(decode_image(encode_jpeg(grey), "grey").shape(), cup.shape());
}

TEST(Image, WritersRefuseWhatIsNoImage) {
  EXPECT_THROW(encode_png(Tensor()), Error);
  EXPECT_THROW(encode_png(Tensor::zeros({4, 4, 3})), Error);
  EXPECT_THROW(encode_png(Tensor::zeros({4, 4, 2}, DType::kU8)), Error);
  EXPECT_THROW(encode_png(Tensor::zeros({0, 4, 3}, DType::kU8)), Error);
  EXPECT_THROW(encode_jpeg(Tensor::zeros({4, 4, 4}, DType::kU8)), Error);
  EXPECT_THROW(encode_jpeg(Tensor::zeros({4, 4, 3}, DType::kU8), 0), Error);
  EXPECT_THROW(write_png("/nonexistent/a.png", Tensor::zeros({4, 4}, DType::kU8)), Error);
}

}  // namespace
}  // namespace usol::io
