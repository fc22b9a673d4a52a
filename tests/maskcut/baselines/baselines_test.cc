// Each discovery baseline against its published implementation (golden, made by tests/golden/make_baselines.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"
#include "usol/io/checkpoint.h"
#include "usol/maskcut/baselines/dino_seg.h"
#include "usol/maskcut/baselines/found.h"
#include "usol/maskcut/baselines/lost.h"
#include "usol/maskcut/baselines/tokencut.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

constexpr std::int64_t kPatch = 8;

class Baselines : public testing::TestWithParam<const char*> {
 protected:
  Tensor get(const std::string& key) const { return golden_.at(std::string(GetParam()) + "." + key); }
  Size picture() const { return {get("image").size(0), get("image").size(1)}; }

 private:
  std::map<std::string, Tensor> golden_ = test::load_golden("baselines.safetensors");
};

class Refined : public Baselines {};  // on the pictures with cases of the bilateral solver

std::vector<std::uint8_t> pixels(const Tensor& mask) { return mask.to_vector<std::uint8_t>(); }

void expect_box(const PixelBox& box, const Tensor& expected) {
  EXPECT_EQ((std::vector<std::int64_t>{box.x0, box.y0, box.x1, box.y1}), expected.to_vector<std::int64_t>());
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to(DType::kF64).to_vector<double>(), y = b.to(DType::kF64).to_vector<double>();
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - y[i]));
  return worst;
}

Tensor every_fourth_row(const Tensor& map) { return map.slice(0, 0, map.size(0), 4); }

TEST_P(Baselines, Lost) {
  const auto objects = lost(get("keys"), kPatch, picture());
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0].seed, static_cast<std::int64_t>(get("lost.seed").item()));
  expect_box(objects[0].box, get("lost.box"));
}

TEST_P(Baselines, TokenCut) {
  for (const Eigensolver solver : {Eigensolver::kLanczos, Eigensolver::kDense}) {
    const auto objects = tokencut(get("keys"), kPatch, picture(), {.eigensolver = solver});
    ASSERT_EQ(objects.size(), 1u);
    EXPECT_EQ(objects[0].seed, static_cast<std::int64_t>(get("tokencut.seed").item()));
    EXPECT_EQ(pixels(objects[0].mask), pixels(get("tokencut.mask")));
    expect_box(objects[0].box, get("tokencut.box"));
  }
}

TEST_P(Baselines, TokenCutWithThreeEigenvectors) {
  const auto objects = tokencut(get("keys"), kPatch, picture(), {.eigenvectors = 3});
  ASSERT_EQ(objects.size(), 3u);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(pixels(objects[i].mask), pixels(get("tokencut3.mask").select(0, i))) << i;
    expect_box(objects[i].box, get("tokencut3.box").select(0, i));
  }
}

TEST_P(Refined, TokenCutSaliency) {
  const Saliency saliency = tokencut_saliency(get("tokencut.mask"), get("image"), Preset::kRelease);
  EXPECT_LT(largest_difference(every_fourth_row(saliency.soft), get("tokencut.soft")), 2e-7);
  EXPECT_EQ(pixels(saliency.mask), pixels(get("tokencut.saliency")));
}

TEST_P(Baselines, DinoSegAsReleased) {
  for (int head = 0; head < 6; ++head) {
    const auto objects = dino_seg(get("attention"), kPatch, picture(), {.head = head, .preset = Preset::kRelease});
    ASSERT_EQ(objects.size(), 1u);
    expect_box(objects[0].box, get("dino_seg.box").select(0, head));
  }
}

TEST_P(Baselines, Found) {
  EXPECT_EQ(pixels(found_background(get("keys"), get("attention"))), pixels(get("found.background")));
  const FoundHead head{get("found.weight"), static_cast<float>(get("found.bias").item())};
  const Tensor logits = found_logits(get("keys"), head);
  EXPECT_LT(largest_difference(logits, get("found.logits")), 1e-5);
  const auto objects = found(logits, kPatch, picture());
  ASSERT_EQ(objects.size(), 1u);
  expect_box(objects[0].box, get("found.box"));
}

TEST_P(Refined, FoundSaliency) {
  const Saliency saliency = found_saliency(get("found.logits"), kPatch, picture());
  EXPECT_LT(largest_difference(every_fourth_row(saliency.soft), get("found.soft")), 1e-6);
  EXPECT_EQ(pixels(saliency.mask), pixels(get("refine_ragged.mask")));
}

TEST_P(Refined, Found) {
  for (const std::string kind : {"refine_ragged", "refine_shape"}) {
    EXPECT_EQ(pixels(found_refine(get(kind + ".mask"), get("image"))), pixels(get(kind + ".all"))) << kind;
    EXPECT_EQ(pixels(found_refine(get(kind + ".mask"), get("image"), true)), pixels(get(kind + ".single"))) << kind;
  }
}

std::string name_of(const testing::TestParamInfo<const char*>& instance) { return instance.param; }

INSTANTIATE_TEST_SUITE_P(Pictures, Baselines, testing::Values("astronaut", "chelsea", "coffee", "rocket"), name_of);
INSTANTIATE_TEST_SUITE_P(Pictures, Refined, testing::Values("astronaut", "chelsea"), name_of);

// Source: the papers, and where they say nothing the public code.
TEST(Baselines, DefaultsAreThePapers) {
  EXPECT_EQ(TokenCutOptions{}.tau, 0.2);
  EXPECT_EQ(TokenCutOptions{}.eps, 1e-5);
  EXPECT_EQ(TokenCutOptions{}.eigenvectors, 1);
  EXPECT_EQ(LostOptions{}.k_patches, 100);
  EXPECT_EQ(DinoSegOptions{}.head, 4);
  EXPECT_EQ(DinoSegOptions{}.mass, 0.6f);
  EXPECT_EQ(FoundOptions{}.background_cosine, 0.3);
}

// ---- what the golden cases do not reach ----

Tensor map_of(const std::vector<std::string>& rows, float high, float low) {
  std::vector<float> values;
  for (const auto& row : rows)
    for (const char c : row) values.push_back(c == '#' ? high : low);
  return Tensor::from(values, {1, static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())});
}

TEST(DinoSeg, PaperTakesTheLargestComponentAndReleaseNeverTheLast) {
  const Size picture{24, 38};
  const DinoSegOptions paper{.head = 0, .mass = 0.9f}, release{.head = 0, .mass = 0.9f, .preset = Preset::kRelease};
  const Tensor two = map_of({"#....", "...##", "...##"}, 1, 0.01f);
  EXPECT_EQ(dino_seg(two, 8, picture, paper)[0].box, (PixelBox{24, 8, 38, 24}));
  EXPECT_EQ(dino_seg(two, 8, picture, release)[0].box, (PixelBox{0, 0, 8, 8}));
  // One component: release takes the background, and does not clip to the picture.
  const Tensor one = map_of({".....", "...##", "...##"}, 1, 0.01f);
  EXPECT_EQ(dino_seg(one, 8, picture, paper)[0].box, (PixelBox{24, 8, 38, 24}));
  EXPECT_EQ(dino_seg(one, 8, picture, release)[0].box, (PixelBox{0, 0, 40, 24}));
}

TEST(Discovery, MaskInPixels) {
  const Tensor mask = Tensor::from<std::uint8_t>({0, 1, 1, 0}, {2, 2});
  EXPECT_EQ(pixels(pixel_mask(mask, 2, {3, 4})), (std::vector<std::uint8_t>{0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0}));
  EXPECT_THROW(pixel_mask(mask, 2, {5, 4}), Error);
}

TEST(TokenCut, NoCutInAFlatPicture) {
  EXPECT_TRUE(tokencut(Tensor::full({3, 4, 4}, 1), 8, {32, 32}).empty());
  EXPECT_TRUE(tokencut(Tensor::full({3, 1, 1}, 1), 8, {8, 8}).empty());
}

TEST(Lost, NoObjectWithoutFeatures) {
  EXPECT_TRUE(lost(Tensor::zeros({3, 4, 4}), 8, {32, 32}).empty());
  // A lone patch, unlike all others, is its own object; fewer patches than may vote.
  const auto objects = lost(map_of({"...", ".#.", "..."}, 1, -1), 8, {24, 24});
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0].seed, 4);
  EXPECT_EQ(objects[0].box, (PixelBox{8, 8, 16, 16}));
}

TEST(Found, NothingAboveTheThreshold) { EXPECT_TRUE(found(Tensor::full({3, 4}, -0.1), 8, {24, 32}).empty()); }

TEST(Found, TheFirstStageAlone) {
  const Tensor background = Tensor::from<std::uint8_t>({0, 1, 1, 1, 1, 0, 1, 0, 0}, {3, 3});
  const auto objects = found_foreground(background, 8, {20, 24});
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(pixels(objects[0].mask), (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1, 0, 1, 1}));
  EXPECT_EQ(objects[0].box, (PixelBox{8, 8, 24, 20}));
  const Saliency saliency = found_foreground_saliency(background, 8, {20, 24});
  EXPECT_EQ(saliency.mask.shape(), (Shape{20, 24}));
  EXPECT_EQ(saliency.soft.select(0, 0).select(0, 0).item(), 1);  // in the corner patch
  EXPECT_EQ(saliency.soft.select(0, 0).select(0, 23).item(), 0);
  EXPECT_TRUE(found_foreground(Tensor::full({3, 3}, 1, DType::kU8), 8, {20, 24}).empty());
  EXPECT_THROW(found_foreground(Tensor::zeros({3, 3}), 8, {20, 24}), Error);
}

TEST(Found, ReadsTheHead) {
  const test::TempDir dir;
  const Tensor weight = Tensor::arange(5, DType::kF32), bias = Tensor::full({1}, 0.25);
  io::save_checkpoint(dir / "head.safetensors", {{"weight", weight.reshape({1, 5, 1, 1})}, {"bias", bias}});
  const FoundHead head = load_found_head(dir / "head.safetensors");
  EXPECT_EQ(head.weight.to_vector<float>(), weight.to_vector<float>());
  EXPECT_EQ(head.bias, 0.25f);
  io::save_checkpoint(dir / "other.safetensors", {{"weight", weight}, {"bias", bias}});
  EXPECT_THROW(load_found_head(dir / "other.safetensors"), Error);
}

TEST(Baselines, RefuseBadInput) {
  const Tensor features = Tensor::full({6, 3, 4}, 0.1);
  EXPECT_THROW(lost(features, 8, {24, 33}), Error);  // five columns of patches
  EXPECT_THROW(lost(features, 8, {16, 32}), Error);
  EXPECT_THROW(lost(features, 0, {24, 32}), Error);
  EXPECT_THROW(lost(features.to(DType::kF64), 8, {24, 32}), Error);
  EXPECT_THROW(lost(features, 8, {24, 32}, {.k_patches = 0}), Error);
  EXPECT_THROW(tokencut(Tensor{}, 8, {24, 32}), Error);
  EXPECT_THROW(tokencut(features, 8, {24, 32}, {.eigenvectors = 0}), Error);
  EXPECT_THROW(tokencut(Tensor::full({6, 3, 4}, std::nan("")), 8, {24, 32}), Error);
  EXPECT_THROW(dino_seg(features, 8, {24, 32}, {.head = 6}), Error);
  EXPECT_THROW(dino_seg(Tensor::zeros({6, 3, 4}), 8, {24, 32}), Error);
  EXPECT_THROW(dino_seg(Tensor::full({6, 3, 4}, -1), 8, {24, 32}), Error);
  EXPECT_THROW(found_background(features, Tensor::zeros({2, 3, 5})), Error);
  EXPECT_THROW(found_background(features, Tensor::zeros({4, 3, 4})), Error);
  EXPECT_THROW(found_logits(features, {Tensor::zeros({5}), 0}), Error);
}

}  // namespace
}  // namespace usol::maskcut
