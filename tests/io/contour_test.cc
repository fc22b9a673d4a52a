// Outlines of masks: filling them by the even-odd rule must give back the mask, pixel by pixel.
#include "usol/io/contour.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "usol/io/yolo.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"

namespace usol::io {
namespace {

Tensor mask_of(const std::vector<std::string>& rows) {
  std::vector<std::uint8_t> values;
  for (const auto& row : rows)
    for (const char c : row) values.push_back(c == '#');
  return Tensor::from(values, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())});
}

// Even-odd rule at pixel centres, over all rings together.
std::vector<std::uint8_t> fill(const std::vector<Ring>& rings, std::int64_t height, std::int64_t width) {
  std::vector<std::uint8_t> out;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const double px = static_cast<double>(x) + 0.5, py = static_cast<double>(y) + 0.5;
      bool inside = false;
      for (const Ring& ring : rings)
        for (std::size_t i = 0; i < ring.size(); ++i) {
          const auto& a = ring[i];
          const auto& b = ring[(i + 1) % ring.size()];
          if ((a[1] > py) != (b[1] > py) && px < a[0] + (py - a[1]) * (b[0] - a[0]) / (b[1] - a[1])) inside = !inside;
        }
      out.push_back(inside);
    }
  return out;
}

double area(const Ring& ring) {  // positive for clockwise rings, y down
  double twice = 0;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const auto& a = ring[i];
    const auto& b = ring[(i + 1) % ring.size()];
    twice += a[0] * b[1] - b[0] * a[1];
  }
  return twice / 2;
}

TEST(Contour, ASquareTurnsAtItsCornersOnly) {
  const auto rings = trace_outlines(mask_of({"....", ".##.", ".##.", "...."}));
  ASSERT_EQ(rings.size(), 1u);
  EXPECT_EQ(rings[0], (Ring{{1, 1}, {3, 1}, {3, 3}, {1, 3}}));
}

TEST(Contour, HolesRunTheOtherWay) {
  const auto rings = trace_outlines(mask_of({"#####", "#.#.#", "#####"}));
  ASSERT_EQ(rings.size(), 3u);
  EXPECT_EQ(area(rings[0]), 15);
  EXPECT_EQ(area(rings[1]), -1);
  EXPECT_EQ(area(rings[2]), -1);
}

TEST(Contour, PixelsThatTouchAtACornerAreTwoRings) {
  EXPECT_EQ(trace_outlines(mask_of({"#.", ".#"})).size(), 2u);
  EXPECT_EQ(trace_outlines(mask_of({".#", "#."})).size(), 2u);
  EXPECT_EQ(trace_outlines(mask_of({"###", "#.#", "##."})).size(), 1u);  // its hole is open at a corner
}

TEST(Contour, FillingGivesBackTheMask) {
  Generator generator(2);
  for (int trial = 0; trial < 60; ++trial) {
    const auto height = static_cast<std::int64_t>(1 + generator.below(12));
    const auto width = static_cast<std::int64_t>(1 + generator.below(12));
    const float share = generator.uniform();
    std::vector<std::uint8_t> values(static_cast<std::size_t>(height * width));
    for (auto& v : values) v = generator.uniform() < share;
    const auto rings = trace_outlines(Tensor::from(values, {height, width}));
    double total = 0;
    for (const Ring& ring : rings) total += area(ring);
    EXPECT_EQ(total, static_cast<double>(std::count(values.begin(), values.end(), 1)));
    EXPECT_EQ(fill(rings, height, width), values) << trial;
    EXPECT_EQ(fill({join_rings(rings)}, height, width), values) << trial;
  }
}

TEST(Contour, NothingAndBadInput) {
  EXPECT_TRUE(trace_outlines(Tensor::zeros({3, 4}, DType::kU8)).empty());
  EXPECT_TRUE(trace_outlines(Tensor::zeros({0, 4}, DType::kU8)).empty());
  EXPECT_TRUE(join_rings({}).empty());
  EXPECT_THROW(trace_outlines(Tensor::zeros({3, 4})), Error);
}

TEST(Yolo, LinesOfEveryKindOfAnnotation) {
  AnnotationSet set;
  set.name = "t.json";
  set.categories = {{7, "cat", ""}, {9, "it's", ""}};
  const CocoImage image{1, 4, 8, "a.jpg"};
  const auto annotation = [&](std::int64_t id, std::int64_t category) {
    CocoAnnotation a;
    a.id = id;
    a.image_id = 1;
    a.category_id = category;
    a.has_id = a.has_category = true;
    return a;
  };
  CocoAnnotation rle = annotation(1, 9), polygon = annotation(2, 7), box = annotation(3, 7), crowd = annotation(4, 7);
  rle.segmentation = set.add(rle_encode(mask_of({"........", ".##.....", ".##.....", "........"})));
  polygon.segmentation = set.add(std::vector<std::vector<double>>{{0, 0, 4, 0, 4, 2}, {6, 0, 9, 0, 8, 2}});
  box.box = {2, 1, 4, 2};
  box.has_box = true;
  crowd.is_crowd = true;
  const std::vector<const CocoAnnotation*> all = {&rle, &polygon, &box, &crowd};
  EXPECT_EQ(yolo_labels(set, image, all),
            "1 0.125 0.25 0.375 0.25 0.375 0.75 0.125 0.75\n"
            "0 0 0 0.5 0 0.75 0 1 0 1 0.5 0.75 0 0.5 0 0.5 0.5\n"
            "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n");
  EXPECT_EQ(yolo_names(set), "names:\n  0: 'cat'\n  1: 'it''s'\n");
  CocoAnnotation nothing = annotation(5, 7), unknown = annotation(6, 8);
  EXPECT_THROW(yolo_labels(set, image, std::vector<const CocoAnnotation*>{&nothing}), Error);
  EXPECT_THROW(yolo_labels(set, image, std::vector<const CocoAnnotation*>{&unknown}), Error);
}

}  // namespace
}  // namespace usol::io
