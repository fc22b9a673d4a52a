// The pixels of a box: those of pycocotools' rasterisation, in the picture, one at least.
#include "usol/io/whole_pixels.h"

#include <gtest/gtest.h>

#include "usol/io/rle.h"

namespace usol::io {
namespace {

std::pair<std::int64_t, std::int64_t> pixels(double from, double length, std::int64_t size = 10) {
  const PixelSpan span = whole_pixels(from, length, size);
  return {span.first, span.end};
}

TEST(WholePixels, HalvesGoUpAndWholeSidesStayAsLong) {
  EXPECT_EQ(pixels(0.5, 2), std::pair(1L, 3L));
  EXPECT_EQ(pixels(1.5, 2), std::pair(2L, 4L));  // to even numbers this and the one before would be of two lengths
  EXPECT_EQ(pixels(1.5, 1), std::pair(2L, 3L));
  EXPECT_EQ(pixels(2.5, 1), std::pair(3L, 4L));
  EXPECT_EQ(pixels(2.49, 1.02), std::pair(2L, 4L));
}

TEST(WholePixels, AreThoseOfTheBoxAsAMask) {
  for (double x = 0; x <= 6; x += 0.25)
    for (double width = 1; x + width <= 10; width += 0.25) {
      const PixelSpan columns = whole_pixels(x, width, 10), rows = whole_pixels(x, width, 12);
      const Box box = rle_to_box(rle_from_box({x, x, width, width}, 12, 10));
      EXPECT_EQ(box, (Box{static_cast<double>(columns.first), static_cast<double>(rows.first),
                          static_cast<double>(columns.size()), static_cast<double>(rows.size())}))
          << x << " " << width;
    }
}

TEST(WholePixels, LieInThePictureAndAreOneAtLeast) {
  EXPECT_EQ(pixels(-5, 100), std::pair(0L, 10L));
  EXPECT_EQ(pixels(-5, 2), std::pair(0L, 1L));
  EXPECT_EQ(pixels(-0.5, 1), std::pair(0L, 1L));
  EXPECT_EQ(pixels(30, 2), std::pair(9L, 10L));
  EXPECT_EQ(pixels(9.7, 0), std::pair(9L, 10L));
  EXPECT_EQ(pixels(3, 0), std::pair(3L, 4L));
  EXPECT_EQ(pixels(1e30, 1e30, 1), std::pair(0L, 1L));
}

}  // namespace
}  // namespace usol::io
