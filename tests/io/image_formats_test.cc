// WebP, TIFF, AVIF, HEIC, PBM to PPM and PNGs without their end, held to Pillow's pixels. What this build has no
// library for is skipped, and said.
#include "usol/io/image_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/support/golden.h"
#include "usol/io/image.h"
#include "usol/io/image_codec.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::HasSubstr;

using Bytes = std::vector<std::byte>;

struct Case {
  Bytes file;
  bool refused = false;
  Tensor stored, turned, scaled;  // by default; with EXIF; with grey of more than 8 bits scaled
};

bool is_read(const std::string& name) {
  const std::map<std::string, const PictureCodec* (*)()> codecs = {
      {"webp", webp_codec}, {"tiff", tiff_codec}, {"avif", avif_codec}, {"heic", heic_codec}};
  const auto found = codecs.find(name.substr(0, name.find('_')));
  return found == codecs.end() || found->second() != nullptr;
}

// libtiff may be built without some ways of packing.
bool is_optional(const std::string& name) { return name == "tiff_zstd" || name == "tiff_lzma"; }

// Versions of libheif round differently when they enlarge chroma.
bool varies_with_version(const std::string& name) { return name == "heic_420"; }

const std::map<std::string, Case>& cases() {
  static const auto* loaded = [] {
    const auto tensors = test::load_golden("image_formats.safetensors");
    auto* all = new std::map<std::string, Case>;
    std::set<std::string> without;
    for (const auto& [key, tensor] : tensors) {
      if (!key.ends_with(".file")) continue;
      const std::string name = key.substr(0, key.size() - 5);
      if (!is_read(name)) {
        without.insert(name.substr(0, name.find('_')));
        continue;
      }
      Case& one = (*all)[name];
      const std::byte* data = tensor.contiguous().raw();
      one.file.assign(data, data + tensor.numel());
      one.refused = tensors.contains(name + ".refused");
      if (one.refused) continue;
      const auto get = [&](const char* kind, const Tensor& otherwise) {
        return tensors.contains(name + kind) ? tensors.at(name + kind) : otherwise;
      };
      one.stored = tensors.at(name + ".rgb");
      one.turned = get(".turned", one.stored);
      one.scaled = get(".scaled", one.turned);
    }
    std::printf("this build reads %s\n", readable_formats().c_str());
    for (const std::string& name : without)
      std::printf("skipped: %s, which it is without a library for\n", name.c_str());
    return all;
  }();
  return *loaded;
}

std::vector<std::uint8_t> pixels(const Tensor& image) { return image.to_vector<std::uint8_t>(); }

void expect_pixels(const Tensor& ours, const Tensor& pillow, const std::string& name) {
  ASSERT_EQ(ours.shape(), pillow.shape());
  if (!varies_with_version(name)) {
    EXPECT_EQ(pixels(ours), pixels(pillow));
    return;
  }
  const auto a = pixels(ours), b = pixels(pillow);
  int most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(int{a[i]} - int{b[i]}));
  EXPECT_LE(most, 1);
}

TEST(ImageFormats, PixelsArePillows) {
  EXPECT_GT(cases().size(), 40u);
  for (const auto& [name, expected] : cases()) {
    SCOPED_TRACE(name);
    if (expected.refused) {
      EXPECT_THROW(decode_image(expected.file, name), Error);
      continue;
    }
    try {
      expect_pixels(decode_image(expected.file, name, {.apply_exif = false}), expected.stored, name);
      expect_pixels(decode_image(expected.file, name), expected.turned, name);
      expect_pixels(decode_image(expected.file, name, {.scale_16bit = true}), expected.scaled, name);
    } catch (const Error& error) {
      EXPECT_TRUE(is_optional(name)) << error.what();
    }
  }
}

TEST(ImageFormats, SizeFromTheHeaderIsTheDecodedSize) {
  for (const auto& [name, expected] : cases()) {
    if (expected.refused) continue;
    SCOPED_TRACE(name);
    EXPECT_EQ(image_size(expected.file, name, {.apply_exif = false}),
              (Size{expected.stored.size(0), expected.stored.size(1)}));
    EXPECT_EQ(image_size(expected.file, name), (Size{expected.turned.size(0), expected.turned.size(1)}));
  }
}

TEST(ImageFormats, TheLimitOfPixelsIsCheckedInTheHeader) {
  for (const auto& [name, expected] : cases()) {
    if (expected.refused || is_optional(name)) continue;
    SCOPED_TRACE(name);
    const std::int64_t count = expected.stored.size(0) * expected.stored.size(1);
    EXPECT_NO_THROW(decode_image(expected.file, name, {.max_pixels = count}));
    // Smaller than any block of a TIFF that is larger than its picture.
    for (const auto& read :
         {+[](const Bytes&file, const std::string&of, const DecodeOptions&options) { image_size(file, of, options); },
          +[](const Bytes&file, const std::string&of, const DecodeOptions&options) {
            decode_image(file, of, options);
          }}) {
      try {
        read(expected.file, name, {.max_pixels = count - 1});
        ADD_FAILURE() << "was read";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("limit"));
      }
    }
  }
}

TEST(ImageFormats, EveryTruncationIsAnErrorOrHarmless) {
  for (const auto& [name, expected] : cases()) {
    // A number that is cut is another number, for Pillow too.
    if (expected.refused || name.starts_with("pnm_p2") || name.starts_with("pnm_p3")) continue;
    SCOPED_TRACE(name);
    const std::size_t step = std::max<std::size_t>(1, expected.file.size() / 120);
    for (std::size_t size = 0;
         size<expected.file.size(); size += size + 80> expected.file.size() || size < 80 ? 1 : step) {
      const Bytes cut(expected.file.begin(), expected.file.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        const Tensor image = decode_image(cut, name);
        // Without what follows the pixels a picture may lose its turn, never its pixels.
        expect_pixels(image, image.shape() == expected.turned.shape() ? expected.turned : expected.stored, name);
        ASSERT_FALSE(HasFailure()) << "silently wrong after " << size << " bytes";
      } catch (const Error& error) {
        ASSERT_THAT(error.what(), HasSubstr(name));
      }
    }
  }
}

TEST(ImageFormats, RandomDamageNeverCrashes) {
  std::mt19937 random(8);
  int decoded = 0, refused = 0;
  for (const auto& [name, expected] : cases()) {
    for (int round = 0; round < 25; ++round) {
      Bytes file = expected.file;
      const int flips = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < flips; ++i) {
        const std::size_t range = random() % 2 == 0 ? std::min<std::size_t>(file.size(), 64) : file.size();
        file[random() % range] = static_cast<std::byte>(random());
      }
      try {
        decode_image(file, name, {.max_pixels = 1 << 20});
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

TEST(ImageFormats, WhatIsReadThoughCutOffIsWarnedOf) {
  DecodeWarnings warnings;
  decode_image(cases().at("png_without_12").file, "a.png", {.warnings = &warnings});
  ASSERT_EQ(warnings.groups().size(), 1u);
  EXPECT_EQ(warnings.groups()[0].kind, DecodeWarning::kDamagedData);
  EXPECT_THAT(warnings.groups()[0].first_lines[0], HasSubstr("a.png: PNG is cut off at byte"));
}

TEST(ImageFormats, ClippedGreyIsWarnedOfAndScaledGreyIsNot) {
  for (const char* name : {"png_deep", "pnm_p5_1023", "pnm_p2_65535", "tiff_grey_16", "tiff_grey_float"}) {
    if (!cases().contains(name)) continue;
    SCOPED_TRACE(name);
    DecodeWarnings clipped, scaled;
    decode_image(cases().at(name).file, name, {.warnings = &clipped});
    ASSERT_EQ(clipped.groups().size(), 1u);
    EXPECT_EQ(clipped.groups()[0].kind, DecodeWarning::kDeepGrey);
    decode_image(cases().at(name).file, name, {.scale_16bit = true, .warnings = &scaled});
    EXPECT_TRUE(scaled.groups().empty());
  }
  if (!cases().contains("tiff_grey_16_small")) return;
  DecodeWarnings none;
  decode_image(cases().at("tiff_grey_16_small").file, "small.tiff", {.warnings = &none});
  EXPECT_TRUE(none.groups().empty());
}

TEST(ImageFormats, WhatCannotBeReadIsNamedWithWhatWouldReadIt) {
  using namespace std::string_view_literals;
  const std::map<std::string_view, std::string_view> beginnings = {{"WebP", "RIFF\x24\0\0\0WEBPVP8 "sv},
                                                                   {"TIFF", "II*\0\x08\0\0\0"sv},
                                                                   {"AVIF",
                                                                    "\0\0\0\x18"
                                                                    "ftypmif1\0\0\0\0mif1avif"sv},
                                                                   {"HEIC",
                                                                    "\0\0\0\x18"
                                                                    "ftypmif1\0\0\0\0mif1heic"sv}};
  for (const ImageFormat& format : image_formats()) {
    if (format.library.empty()) continue;
    const std::string_view text = beginnings.at(format.name);
    const std::span bytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
    SCOPED_TRACE(std::string(format.name));
    EXPECT_EQ(readable_formats().find(format.name) != std::string::npos, format.readable());
    if (format.readable()) {
      EXPECT_EQ(recognise_image(bytes, "photo.jpg").name, format.name);
      continue;
    }
    try {
      recognise_image(bytes, "photo.jpg");
      ADD_FAILURE() << "was recognised";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("this is " + std::string(format.name)));
      EXPECT_THAT(error.what(), HasSubstr(std::string(format.package)));
    }
  }
}

TEST(ImageFormats, ExtensionsFollowTheFormats) {
  for (const char* name : {"a.jpg", "b/c.TIFF", "d.webp", "e.heic", "f.avif", "g.pbm", "h.PNG", "i.jxl"})
    EXPECT_TRUE(is_picture_name(name)) << name;
  for (const char* name : {"a.txt", "jpg", ".jpg", "b.jpg.txt", "c.npy", ""})
    EXPECT_FALSE(is_picture_name(name)) << name;
}

// A tile of 2^24 x 2^24 pixels around a picture of 13 x 5.
TEST(ImageFormats, ATiffOfHugeTilesIsRefused) {
  if (!cases().contains("tiff_tiles")) GTEST_SKIP() << "this build is without libtiff";
  Bytes file = cases().at("tiff_tiles").file;
  int changed = 0;
  for (std::size_t i = 0; i + 12 <= file.size(); ++i) {  // the directory's entries 322 and 323, of one number
    std::uint16_t tag = 0, kind = 0;
    std::memcpy(&tag, &file[i], 2);
    std::memcpy(&kind, &file[i + 2], 2);
    if ((tag != 322 && tag != 323) || kind < 3 || kind > 4) continue;
    const std::uint16_t as_long = 4;
    const std::uint32_t huge = 1 << 24;
    std::memcpy(&file[i + 2], &as_long, 2);
    std::memcpy(&file[i + 8], &huge, 4);
    ++changed;
  }
  ASSERT_EQ(changed, 2);
  try {
    decode_image(file, "tiles.tiff");
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("TIFF in blocks of 16777216 x 16777216 pixels, the limit is 178956970"));
  }
}

TEST(DecodeWarnings, CountPicturesByKindFromAllThreads) {
  DecodeWarnings warnings;
  EXPECT_TRUE(warnings.groups().empty());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string name = std::to_string(t % 2 * 50 + i);  // each picture twice
        warnings.add(DecodeWarning::kBadExif, name, name + ": odd");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  warnings.add(DecodeWarning::kDeepGrey, "7", "7: deep");
  ASSERT_EQ(warnings.groups().size(), 2u);
  EXPECT_EQ(warnings.groups()[0].kind, DecodeWarning::kDeepGrey);
  EXPECT_EQ(warnings.groups()[0].pictures, 1);
  EXPECT_EQ(warnings.groups()[1].pictures, 100);
  EXPECT_EQ(warnings.groups()[1].first_lines.size(), 3u);
}

}  // namespace
}  // namespace usol::io
