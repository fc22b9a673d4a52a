#include "usol/maskcut/components.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

Tensor map_of(const std::vector<std::string>& rows) {
  Tensor mask =
      Tensor::empty({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())}, DType::kU8);
  std::uint8_t* out = mask.mutable_data<std::uint8_t>();
  for (const std::string& row : rows)
    for (const char c : row) *out++ = c == '#';
  return mask;
}

TEST(Components, EqualSciPy) {
  const std::map<std::string, Tensor> golden = test::load_golden("components.safetensors");
  int cases = 0;
  for (const auto& [name, masks] : golden) {
    if (!name.ends_with(".masks")) continue;
    const std::string key = name.substr(0, name.size() - 6);
    for (int i = 0; i < masks.size(0); ++i, ++cases) {
      const Tensor mask = masks.select(0, i);
      const Components components = label_components(mask);
      EXPECT_EQ(components.labels.to_vector<std::int32_t>(),
                golden.at(key + ".labels").select(0, i).to_vector<std::int32_t>())
          << key << " " << i;
      EXPECT_EQ(fill_holes(mask).to_vector<std::uint8_t>(),
                golden.at(key + ".filled").select(0, i).to_vector<std::uint8_t>())
          << key << " " << i;
      std::vector<std::int64_t> sizes(static_cast<std::size_t>(components.count + 1), 0);
      for (const std::int32_t label : components.labels.to_vector<std::int32_t>())
        ++sizes[static_cast<std::size_t>(label)];
      EXPECT_EQ(components.sizes, sizes);
    }
  }
  EXPECT_EQ(cases, 52);
}

TEST(Components, ComponentOfASeed) {
  const Tensor mask = map_of({"##..#",  //
                              ".#.##",  //
                              "..#..",  //
                              "#.###"});
  const Tensor expected = map_of({".....",  //
                                  ".....",  //
                                  "..#..",  //
                                  "..###"});
  EXPECT_EQ(component_of(mask, 12).to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>());
  EXPECT_EQ(component_of(mask, 19).to_vector<std::uint8_t>(), expected.to_vector<std::uint8_t>());
  EXPECT_EQ(mask_area(component_of(mask, 2)), 0);  // background
  EXPECT_THROW(component_of(mask, 20), Error);
  EXPECT_THROW(component_of(mask, -1), Error);
}

TEST(Components, LargestIsTheFirstOfEquals) {
  const Tensor mask = map_of({"#..#",  //
                              ".###",  //
                              "....",  //
                              "####"});
  EXPECT_EQ(largest_component(mask).to_vector<std::uint8_t>(),
            map_of({"...#", ".###", "....", "...."}).to_vector<std::uint8_t>());
  EXPECT_EQ(mask_area(largest_component(map_of({"...", "..."}))), 0);
}

TEST(Components, BoxAreaAndIou) {
  const Tensor a = map_of({"....", ".##.", ".#..", "...."}), b = map_of({"....", "..##", "....", "...."});
  EXPECT_EQ(bounding_box(a), (PixelBox{1, 1, 3, 3}));
  EXPECT_EQ(bounding_box(b), (PixelBox{2, 1, 4, 2}));
  const Tensor empty = Tensor::zeros({4, 4}, DType::kU8);
  EXPECT_EQ(bounding_box(empty), PixelBox{});
  EXPECT_EQ(mask_area(a), 3);
  EXPECT_EQ(mask_iou(a, b), 0.25);
  EXPECT_EQ(mask_iou(a, empty), 0);
  EXPECT_TRUE(std::isnan(mask_iou(empty, empty)));
  EXPECT_THROW(mask_iou(a, map_of({"#"})), Error);
}

TEST(Components, TakesViewsAndRefusesOtherTypes) {
  const Tensor mask = map_of({"##.", "..#"});
  EXPECT_EQ(label_components(mask.transpose(0, 1)).count, 2);
  EXPECT_EQ(label_components(Tensor::zeros({0, 5}, DType::kU8)).count, 0);
  EXPECT_EQ(fill_holes(Tensor::zeros({0, 5}, DType::kU8)).numel(), 0);
  EXPECT_THROW(label_components(Tensor::zeros({2, 2})), Error);
  EXPECT_THROW(fill_holes(Tensor::zeros({4}, DType::kU8)), Error);
  EXPECT_THROW(mask_area(Tensor()), Error);
}

}  // namespace
}  // namespace usol::maskcut
