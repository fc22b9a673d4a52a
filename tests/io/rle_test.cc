// Run-length masks against pycocotools (tests/golden/make_rle.py), and what malformed text must do.
#include "usol/io/rle.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/io/rle_write.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using nlohmann::json;

// USOL_RLE_GOLDEN names a longer file of the same script.
const json& golden() {
  static const json cases = [] {
    const char* other = std::getenv("USOL_RLE_GOLDEN");
    std::ifstream in(other ? other : test::golden_path("rle.json"));
    return json::parse(in);
  }();
  return cases;
}

Rle parse(const json& text, const json& size) { return rle_from_string(text.get<std::string>(), size[0], size[1]); }

std::vector<Rle> parse_all(const json& texts, const json& size) {
  std::vector<Rle> masks;
  for (const json& text : texts) masks.push_back(parse(text, size));
  return masks;
}

std::vector<double> flat(const json& rows) {
  std::vector<double> values;
  for (const json& row : rows) values.insert(values.end(), row.begin(), row.end());
  return values;
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "no error";
}

TEST(Rle, EncodesDecodesAndMeasuresMasks) {
  for (const json& c : golden()["masks"]) {
    const std::int64_t height = c["size"][0], width = c["size"][1];
    std::vector<std::uint8_t> pixels;
    for (const std::string row : c["rows"]) {
      for (const char pixel : row) pixels.push_back(pixel == '1');
    }
    const Tensor mask = Tensor::from(pixels, {height, width});
    const Rle rle = rle_encode(mask);
    EXPECT_EQ(rle_to_string(rle), c["counts"].get<std::string>());
    EXPECT_EQ(parse(c["counts"], c["size"]), rle);
    EXPECT_EQ(rle_decode(rle).to_vector<std::uint8_t>(), pixels);
    EXPECT_EQ(rle_area(rle), c["area"].get<std::int64_t>());
    EXPECT_EQ(rle_to_box(rle), c["box"].get<Box>());
    // Strided: the same mask seen through a transposed copy.
    EXPECT_EQ(rle_encode(mask.transpose(0, 1).contiguous().transpose(0, 1)), rle);
  }
}

TEST(Rle, WideMasksCrossTheColumnBlocks) {
  Tensor mask = Tensor::zeros({3, 200}, DType::kU8);
  mask.slice(1, 60, 70).fill(255);
  const Rle rle = rle_encode(mask);
  EXPECT_EQ(rle.counts, (std::vector<std::uint32_t>{180, 30, 390}));
  EXPECT_EQ(rle_to_box(rle), (Box{60, 0, 10, 3}));
}

TEST(Rle, RasterisesPolygons) {
  for (const json& c : golden()["polygons"]) {
    const Rle rle =
        rle_from_polygons(c["polygons"].get<std::vector<std::vector<double>>>(), c["size"][0], c["size"][1]);
    EXPECT_EQ(rle_to_string(rle), c["counts"].get<std::string>()) << c;
    EXPECT_EQ(rle_area(rle), c["area"].get<std::int64_t>());
    EXPECT_EQ(rle_to_box(rle), c["box"].get<Box>());
  }
}

TEST(Rle, RasterisesBoxes) {
  for (const json& c : golden()["boxes"]) {
    EXPECT_EQ(rle_to_string(rle_from_box(c["box"].get<Box>(), c["size"][0], c["size"][1])),
              c["counts"].get<std::string>())
        << c;
  }
}

TEST(Rle, Merges) {
  for (const json& c : golden()["merges"]) {
    const auto masks = parse_all(c["masks"], c["size"]);
    EXPECT_EQ(rle_to_string(rle_merge(masks, MaskMerge::kUnion)), c["union"].get<std::string>()) << c;
    EXPECT_EQ(rle_to_string(rle_merge(masks, MaskMerge::kIntersection)), c["intersection"].get<std::string>()) << c;
  }
  EXPECT_EQ(rle_merge({}, MaskMerge::kUnion), Rle{});
  const std::vector<Rle> two = {{1, 2, {2}}, {2, 1, {2}}};
  EXPECT_THROW(rle_merge(two, MaskMerge::kUnion), Error);
}

TEST(Rle, MergesRunsOfLengthZero) {
  const std::vector<Rle> two = {{1, 9, {4, 0, 3, 2}}, {1, 9, {4, 0, 0, 1, 4}}};
  EXPECT_EQ(rle_merge(two, MaskMerge::kUnion).counts, (std::vector<std::uint32_t>{4, 1, 2, 2}));
}

TEST(Rle, MeasuresIou) {
  for (const json& c : golden()["ious"]) {
    EXPECT_EQ(rle_iou(parse_all(c["detections"], c["size"]), parse_all(c["truths"], c["size"]),
                      c["crowd"].get<std::vector<std::uint8_t>>()),
              flat(c["iou"]));
  }
  for (const json& c : golden()["box_ious"]) {
    EXPECT_EQ(box_iou(c["detections"].get<std::vector<Box>>(), c["truths"].get<std::vector<Box>>(),
                      c["crowd"].get<std::vector<std::uint8_t>>()),
              flat(c["iou"]));
  }
}

TEST(Rle, RefusesMalformedText) {
  EXPECT_EQ(message_of([] { rle_from_string("0~", 1, 1); }),
            "rle_from_string: expected characters '0' to 'o', got code 126 at offset 1");
  EXPECT_EQ(message_of([] { rle_from_string("0P", 1, 1); }),
            "rle_from_string: the run at offset 1 is cut off after 1 characters");
  EXPECT_EQ(message_of([] { rle_from_string("ooooooooo0", 1, 1); }),
            "rle_from_string: the run at offset 0 is too long for a count");
  EXPECT_EQ(message_of([] { rle_from_string("15", 2, 2); }),
            "rle_from_string: expected a count of 0 to 3 at offset 1 (2 x 2 pixels), got 5");
  EXPECT_EQ(message_of([] { rle_from_string("O", 2, 2); }),
            "rle_from_string: expected a count of 0 to 4 at offset 0 (2 x 2 pixels), got -1");
  EXPECT_EQ(message_of([] { rle_from_string("12", 2, 2); }),
            "rle_from_string: expected counts that add up to 4 (2 x 2), got 3 from 2 counts");
  EXPECT_NE(message_of([] { rle_from_counts({1, 2}, 2, 2); }), "no error");
  EXPECT_NE(message_of([] { rle_from_counts({}, -1, 2); }), "no error");
  EXPECT_NE(message_of([] { rle_from_counts({}, 1L << 40, 1L << 40); }), "no error");
  EXPECT_EQ(message_of([] {
              rle_decode({2, 2, {5}});
            }),
            "rle_decode: expected counts that add up to 4 (2 x 2), got 5 from 1 counts");
  EXPECT_EQ(message_of([] {
              std::uint8_t pixels[4];
              rle_write({2, 2, {5}}, pixels);
            }),
            "rle_write: expected counts that add up to 4 (2 x 2), got 5 from 1 counts");
}

TEST(Rle, RefusesBadPolygons) {
  using Polygons = std::vector<std::vector<double>>;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(message_of([] { rle_from_polygons(Polygons{}, 4, 4); }), "no error");
  EXPECT_NE(message_of([] { rle_from_polygons(Polygons{{0, 0, 1, 1}}, 4, 4); }), "no error");
  EXPECT_NE(message_of([] { rle_from_polygons(Polygons{{0, 0, 1, 1, 2, 2, 3}}, 4, 4); }), "no error");
  EXPECT_NE(message_of([] { rle_from_polygons(Polygons{{0, 0, 1, 1, 1e9, 2}}, 4, 4); }), "no error");
  EXPECT_NE(message_of([nan] { rle_from_polygons(Polygons{{0, 0, 1, 1, nan, 2}}, 4, 4); }), "no error");
}

}  // namespace
}  // namespace usol::io
