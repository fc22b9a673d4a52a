// Resizing, flipping and copy-paste of training pictures against Detectron2's and CutLER's own code.
#include "usol/train/copy_paste.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"
#include "usol/train/augment.h"

namespace usol::train {
namespace {

using Golden = std::map<std::string, Tensor>;

Sample sample_of(const Golden& golden, const std::string& image, const std::string& masks, const std::string& boxes) {
  Sample sample{golden.at(image), golden.at(masks), golden.at(boxes), {}};
  for (std::int64_t i = 0; i < sample.masks.size(0); ++i) sample.classes.push_back(i);
  return sample;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.to_vector<std::uint8_t>() == b.to_vector<std::uint8_t>();
}

void expect_boxes(const Tensor& got, const Tensor& expected) {
  ASSERT_EQ(got.shape(), expected.shape());
  const auto a = got.to_vector<float>(), b = expected.to_vector<float>();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << i;
}

TEST(Augment, ResizesAndFlipsAsDetectron2) {
  const Golden golden = test::load_golden("training_data.safetensors");
  const Sample sample = sample_of(golden, "transform/image", "transform/masks", "transform/boxes");
  for (const auto& [name, flip] : {std::pair<std::string, bool>{"up", false}, {"flip", true}, {"capped", true}}) {
    const Tensor image = golden.at("transform/" + name + "/image");
    const Sample moved = transformed(sample, image.size(0), image.size(1), flip);
    EXPECT_TRUE(same(moved.image, image)) << name;
    EXPECT_TRUE(same(moved.masks, golden.at("transform/" + name + "/masks"))) << name;
    expect_boxes(moved.boxes, golden.at("transform/" + name + "/boxes"));
  }
}

TEST(Augment, ObjectsThatVanishAreDropped) {
  Sample sample{Tensor::zeros({8, 8, 3}, DType::kU8),
                Tensor::zeros({3, 8, 8}, DType::kU8),
                Tensor::from<float>({0, 0, 8, 8, 3, 3, 3, 5, 1, 1, 4, 4}, {3, 4}),
                {5, 6, 7}};
  sample.masks.select(0, 1).fill(1);  // a mask, but a box without area
  sample.masks.select(0, 2).fill(1);
  const Sample moved = transformed(sample, 16, 16, false);  // the first has no mask
  EXPECT_EQ(moved.classes, (std::vector<std::int64_t>{7}));
  EXPECT_EQ(moved.boxes.to_vector<float>(), (std::vector<float>{2, 2, 8, 8}));
}

TEST(Augment, DependsOnTheGeneratorAlone) {
  const Golden golden = test::load_golden("training_data.safetensors");
  const Sample sample = sample_of(golden, "transform/image", "transform/masks", "transform/boxes");
  const AugmentOptions options{.short_sides = {24, 37, 48}};
  Generator first(3, 1), second(3, 1);
  int flipped_or_resized = 0;
  for (int i = 0; i < 8; ++i) {
    const Sample a = augmented(sample, options, first), b = augmented(sample, options, second);
    EXPECT_TRUE(same(a.image, b.image));
    EXPECT_EQ(std::min(a.height(), a.width()) % 24 == 0 || a.height() == 37, true);
    flipped_or_resized += same(a.image, sample.image) ? 0 : 1;
  }
  EXPECT_GT(flipped_or_resized, 0);
}

class CopyPaste : public testing::TestWithParam<const char*> {
 protected:
  CopyPaste() : golden_(test::load_golden("training_data.safetensors")) {
    const std::string name = std::string(GetParam()) + "/";
    target_ = sample_of(golden_, name + "target", name + "target_masks", name + "target_boxes");
    source_ = sample_of(golden_, name + "source", name + "source_masks", name + "source_boxes");
    paste_.objects = golden_.at(name + "chosen").to_vector<std::int64_t>();
    const auto place = golden_.at(name + "place").to_vector<double>();
    paste_.ratio = place[0];
    paste_.x = static_cast<std::int64_t>(place[1]);
    paste_.y = static_cast<std::int64_t>(place[2]);
  }
  const Tensor& expected(const std::string& what) const { return golden_.at(std::string(GetParam()) + "/" + what); }

  Golden golden_;
  Sample target_, source_;
  Paste paste_;
};

TEST_P(CopyPaste, ReleaseEqualsCutler) {
  const Sample result = pasted(target_, source_, paste_, CopyPastePreset::kRelease);
  EXPECT_TRUE(same(result.masks, expected("result_masks")));
  EXPECT_EQ(result.classes, expected("result_classes").to_vector<std::int64_t>());
  expect_boxes(result.boxes, expected("result_boxes"));
  // A weighted sum that is a whole number but for its last bit may be truncated to the level below.
  const auto a = result.image.to_vector<std::uint8_t>(), b = expected("result").to_vector<std::uint8_t>();
  ASSERT_EQ(a.size(), b.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_LE(std::abs(int{a[i]} - int{b[i]}), 1) << i;
    different += a[i] != b[i] ? 1 : 0;
  }
  EXPECT_LE(different, a.size() / 100);
}

TEST_P(CopyPaste, PaperHasNoEmptyObjectsAndTightBoxes) {
  const Sample result = pasted(target_, source_, paste_, CopyPastePreset::kPaper);
  expect_boxes(result.boxes, boxes_of_masks(result.masks));
  const auto boxes = result.boxes.to_vector<float>();
  for (std::size_t i = 0; i < boxes.size(); i += 4) EXPECT_GT(boxes[i + 2], boxes[i]);
  if (std::string(GetParam()) == "vanishing") {
    EXPECT_EQ(result.size(), target_.size());
  } else {
    EXPECT_TRUE(same(result.masks, expected("result_masks")));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CopyPaste,
                         testing::Values("several", "empty_target", "covering", "vanishing", "all_left_out"),
                         [](const auto& about) { return std::string(about.param); });

TEST(ChoosePaste, ChoosesWithinBounds) {
  const Golden golden = test::load_golden("training_data.safetensors");
  const Sample target = sample_of(golden, "several/target", "several/target_masks", "several/target_boxes");
  const Sample source = sample_of(golden, "several/source", "several/source_masks", "several/source_boxes");
  Generator generator(1);
  std::vector<int> counts(5, 0);
  for (int i = 0; i < 200; ++i) {
    const Paste paste = choose_paste(target, source, {.least_ratio = 0.5, .most_ratio = 0.75}, generator);
    ++counts.at(paste.objects.size());
    EXPECT_GE(paste.ratio, 0.5);
    EXPECT_LT(paste.ratio, 0.75);
    auto sorted = paste.objects;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
    EXPECT_NO_THROW(pasted(target, source, paste, CopyPastePreset::kPaper));
  }
  EXPECT_EQ(counts[0] + counts[4], 0);  // four objects: one to three
  EXPECT_GT(std::min({counts[1], counts[2], counts[3]}), 40);
  EXPECT_TRUE(choose_paste(source, with_objects(target, {}), {}, generator).objects.empty());
  EXPECT_EQ(choose_paste(target, with_objects(source, {2}), {}, generator).objects, (std::vector<std::int64_t>{0}));
}

TEST(CopyPasted, PartnersAreAsTheyWereBefore) {
  const Golden golden = test::load_golden("training_data.safetensors");
  const Sample a = sample_of(golden, "several/target", "several/target_masks", "several/target_boxes");
  const Sample b = sample_of(golden, "several/source", "several/source_masks", "several/source_boxes");
  std::vector<Generator> generators{Generator(1, 1), Generator(1, 2)};
  const auto both = copy_pasted({a, b}, {}, generators);
  Generator again(1, 2);
  const Sample second = pasted(b, a, choose_paste(b, a, {}, again), CopyPastePreset::kPaper);
  EXPECT_TRUE(same(both[1].image, second.image));
  EXPECT_TRUE(same(both[1].masks, second.masks));
  EXPECT_FALSE(same(both[0].image, a.image));
}

}  // namespace
}  // namespace usol::train
