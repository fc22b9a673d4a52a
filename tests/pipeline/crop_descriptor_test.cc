// What is inside a box as one vector, against LOST's steps (tests/golden/make_lost_crops.py).
#include "usol/pipeline/crop_descriptor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/maskcut/groups/rows.h"
#include "usol/models/vit.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

class CropDescriptorTest : public testing::Test {
 protected:
  CropDescriptorTest() {
    StateDict state;
    for (const auto& [name, tensor] : test::load_golden("vit_dino.safetensors"))
      if (name.starts_with("w.")) state[name.substr(2)] = tensor;
    vit_ = load_patch_backbone(std::move(state), "golden");
  }
  // Left, top, width, height of the script's box.
  io::Box box(std::int64_t i) const {
    const auto b = golden_.at("boxes").select(0, i).to_vector<float>();
    return {b[0], b[1], b[2] - b[0], b[3] - b[1]};
  }
  std::int64_t boxes() const { return golden_.at("boxes").size(0); }

  std::map<std::string, Tensor> golden_ = test::load_golden("lost_crops.safetensors");
  std::unique_ptr<PatchBackbone> vit_;
};

TEST_F(CropDescriptorTest, TokensAreLosts) {
  const Tensor picture = golden_.at("picture");
  for (std::int64_t i = 0; i < boxes(); ++i) {
    const Tensor input = crop_input(picture, box(i), 8);
    const auto sides = golden_.at("sides").select(0, i).to_vector<std::int64_t>();
    EXPECT_EQ(input.shape(), (Shape{1, 3, sides[0] / 8 * 8, sides[1] / 8 * 8})) << i;
    const Tensor token = crop_class_token(*vit_, picture, box(i));
    EXPECT_LE(test::relative_error(token, golden_.at("tokens").select(0, i)), 1e-5) << i;
  }
}

TEST_F(CropDescriptorTest, WhitenedAsLostClustersThem) {
  using maskcut::rows_of, maskcut::unit_rows, maskcut::whitened_rows;
  const auto whitened = [](const Tensor& tokens) {
    return sample_rows(unit_rows(whitened_rows(rows_of(tokens))), tokens.size(0), 0);
  };
  EXPECT_LE(test::relative_error(whitened(golden_.at("tokens")), golden_.at("whitened")), 1e-5);
  // A dimension that never changes is divided by 1, and zeros stay zeros.
  const Tensor flat = whitened(Tensor::from<float>({3, 4, 3, 4}, {2, 2}));
  EXPECT_FLOAT_EQ(flat.select(0, 0).select(0, 0).item(), 0.6);
  EXPECT_FLOAT_EQ(flat.select(0, 1).select(0, 1).item(), 0.8);
  EXPECT_EQ(whitened(Tensor::zeros({2, 3})).to_vector<float>(), std::vector<float>(6, 0));
}

TEST_F(CropDescriptorTest, BoxesOfAnyKind) {
  const Tensor picture = golden_.at("picture");  // 64 x 90
  // Beyond the picture, and of no width: a pixel at least.
  EXPECT_EQ(crop_input(picture, {-5, -5, 200, 200}, 8).shape(), crop_input(picture, {0, 0, 90, 64}, 8).shape());
  EXPECT_EQ(crop_input(picture, {89.7, 63.8, 0, 0}, 8).shape(), (Shape{1, 3, 256, 256}));
  // Thin ones are squeezed.
  EXPECT_EQ(crop_input(picture, {0, 10, 90, 1}, 8).shape(), (Shape{1, 3, 256, 16 * 256}));
  EXPECT_EQ(crop_input(picture, {4, 0, 1, 64}, 8, {.short_px = 32, .longest = 3}).shape(), (Shape{1, 3, 96, 32}));
  EXPECT_THROW(crop_input(picture, {0, 0, 9, 9}, 8, {.short_px = 7}), Error);
  EXPECT_THROW(crop_input(Tensor::zeros({4, 4}, DType::kU8), {0, 0, 9, 9}, 8), Error);
}

}  // namespace
}  // namespace usol
