// What becomes of a detector's objects in a picture.
#include "usol/pipeline/detect.h"

#include <gtest/gtest.h>

namespace usol {
namespace {

// FreeSOLO's second round: as wide as 95 % of the picture is too wide, wherever the box lies.
TEST(DropWide, BoxesOfTheShareOrMore) {
  const auto left_of = [](std::vector<io::Box> boxes, double share) {
    std::vector<FoundObject> found;
    for (const io::Box& box : boxes) {
      found.emplace_back();
      found.back().box = box;
      found.back().score = box[0];
    }
    drop_wide(found, share, 200);
    std::vector<double> starts;
    for (const FoundObject& object : found) starts.push_back(object.score);
    return starts;
  };
  const std::vector<io::Box> boxes{{0, 0, 189.9, 50}, {1, 0, 190, 50}, {2, 0, 190.1, 50}, {10, 0, 189.9, 200}};
  EXPECT_EQ(left_of(boxes, 0.95), (std::vector<double>{0, 10}));
  EXPECT_EQ(left_of(boxes, 0), (std::vector<double>{0, 1, 2, 10}));
  EXPECT_EQ(left_of({{0, 0, 200, 1}, {3, 0, 199, 200}}, 1), std::vector<double>{3});
}

}  // namespace
}  // namespace usol
