// The detector's small parts, by hand: anchors, box coder, matcher, sampler, levels, DropLoss's truths.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/models/rcnn/anchors.h"
#include "usol/models/rcnn/box_head.h"
#include "usol/models/rcnn/boxes.h"
#include "usol/models/rcnn/droploss.h"
#include "usol/models/rcnn/mask_head.h"
#include "usol/models/rcnn/matcher.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/rcnn/roi_pooler.h"
#include "usol/models/rcnn/rpn.h"
#include "usol/models/rcnn/sampler.h"
#include "usol/ops/pairwise_iou.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

using Numbers = std::vector<std::int64_t>;

TEST(Anchors, ShapesAndOrder) {
  const auto a = rcnn::level_anchors(2, 3, 16, {32}).to_vector<float>();
  ASSERT_EQ(a.size(), 2u * 3 * 3 * 4);
  // The square one at the origin, then that of the next place to the right, then below.
  EXPECT_EQ(std::vector<float>(a.begin() + 4, a.begin() + 8), (std::vector<float>{-16, -16, 16, 16}));
  EXPECT_EQ(std::vector<float>(a.begin() + 16, a.begin() + 20), (std::vector<float>{0, -16, 32, 16}));
  EXPECT_EQ(std::vector<float>(a.begin() + 40, a.begin() + 44), (std::vector<float>{-16, 0, 16, 32}));
  EXPECT_FLOAT_EQ((a[2] - a[0]) / (a[3] - a[1]), 2);  // height / width 0.5 comes first
  EXPECT_NEAR((a[2] - a[0]) * (a[3] - a[1]), 1024, 1e-3);
}

TEST(BoxCoder, ThereAndBackAndTheLimit) {
  const rcnn::BoxCoder coder{{10, 10, 5, 5}};
  const Tensor boxes = Tensor::from<float>({10, 20, 30, 60, 0, 0, 1, 1}, {2, 4});
  const Tensor targets = Tensor::from<float>({12, 18, 42, 50, 3, 2, 9, 4}, {2, 4});
  EXPECT_LE(relative_error(coder.decode(coder.encode(boxes, targets), boxes), targets), 1e-6);
  const auto wide =
      coder.decode(Tensor::full({1, 4}, 1000), Tensor::from<float>({0, 0, 16, 16}, {1, 4})).to_vector<float>();
  EXPECT_NEAR(wide[2] - wide[0], 1000, 1e-2);
  EXPECT_THROW(coder.encode(boxes, Tensor::zeros({1, 4})), Error);
}

TEST(Boxes, ClipAndEmpty) {
  const Tensor clipped = rcnn::clip(Tensor::from<float>({-5, 3, 50, 40, 21, 0, 30, 5}, {2, 4}), {30, 20});
  EXPECT_EQ(clipped.to_vector<float>(), (std::vector<float>{0, 3, 20, 30, 20, 0, 20, 5}));
  EXPECT_EQ(rcnn::nonempty(clipped).to(DType::kI64).to_vector<std::int64_t>(), (Numbers{1, 0}));
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rcnn::finite_rows(Tensor::from<float>({0, 1, inf, 2, 3, std::nanf("")}, {3, 2}))
                .to(DType::kI64)
                .to_vector<std::int64_t>(),
            (Numbers{1, 0, 0}));
}

TEST(Matcher, ThresholdsAndLowQuality) {
  const Tensor iou = Tensor::from<float>({0.7f, 0.3f, 0.1f, 0.0f, 0.2f,  //
                                          0.1f, 0.5f, 0.2f, 0.0f, 0.2f},
                                         {2, 5});
  const rcnn::Matches plain = rcnn::match(iou, {.low = 0.3, .high = 0.7});
  EXPECT_EQ(plain.truth.to_vector<std::int64_t>(), (Numbers{0, 1, 1, 0, 0}));  // ties: the lowest
  EXPECT_EQ(plain.label.to_vector<std::int64_t>(), (Numbers{1, -1, 0, 0, 0}));
  const rcnn::Matches low = rcnn::match(iou, {.low = 0.3, .high = 0.7, .low_quality = true});
  EXPECT_EQ(low.label.to_vector<std::int64_t>(), (Numbers{1, 1, 0, 0, 0}));
  // A truth that nothing overlaps makes every box that overlaps it best, by nothing, positive, as in the reference.
  const Tensor far = Tensor::from<float>({0.0f, 0.0f, 0.9f, 0.4f}, {2, 2});
  EXPECT_EQ(rcnn::match(far, {.low = 0.3, .high = 0.7, .low_quality = true}).label.to_vector<std::int64_t>(),
            (Numbers{1, 1}));
  const rcnn::Matches none = rcnn::match(Tensor::zeros({0, 3}), {});
  EXPECT_EQ(none.label.to_vector<std::int64_t>(), (Numbers{0, 0, 0}));
}

// Overlaps of exactly 1/4 and 1/2: not below the one bound, and up to the other.
TEST(Matcher, AnOverlapOfABoundItself) {
  const rcnn::MatcherOptions options{.low = 0.25, .high = 0.5};
  const Tensor truth = Tensor::from<float>({0, 0, 8, 8}, {1, 4});
  const Tensor boxes = Tensor::from<float>({0, 0, 8, 2, 0, 0, 8, 1.9375f, 0, 0, 8, 4, 0, 0, 8, 3.9375f}, {4, 4});
  const Numbers expected{-1, 0, 1, -1};
  EXPECT_EQ(rcnn::match(pairwise_iou(truth, boxes), options).label.to_vector<std::int64_t>(), expected);
  EXPECT_EQ(rcnn::match_boxes(truth, boxes, options).label.to_vector<std::int64_t>(), expected);
}

// Source: Cai & Vasconcelos 2018, "Cascade R-CNN"; Detectron2's ROI_BOX_CASCADE_HEAD.
TEST(Cascade, EachStageHasABoundAndACoderOfItsOwn) {
  ParamStore store = ParamStore::shapes_only();
  const rcnn::RoiHeads heads(Scope(store), cutler_config().heads);
  ASSERT_EQ(heads.box_heads().size(), 3u);
  const std::array<double, 4> weights[] = {{10, 10, 5, 5}, {20, 20, 10, 10}, {30, 30, 15, 15}};
  for (std::size_t k = 0; k < 3; ++k) EXPECT_EQ(heads.box_heads()[k].coder().weights, weights[k]) << k;
  // Boxes that overlap the truth by 0.46, 0.54, 0.56, 0.64, 0.66 and 0.74.
  const rcnn::Truths truths{Tensor::from<float>({0, 0, 50, 50}, {1, 4}), Tensor::zeros({1}, DType::kI64), {}};
  std::vector<float> sides;
  for (const float height : {23.0f, 27.0f, 28.0f, 32.0f, 33.0f, 37.0f}) sides.insert(sides.end(), {0, 0, 50, height});
  const Tensor boxes = Tensor::from(sides, {6, 4});
  const auto positives = [](const rcnn::Samples& samples) {  // class 0; 1 is the background
    Numbers rows;
    const auto classes = samples.classes.to_vector<std::int64_t>();
    for (std::size_t i = 0; i < classes.size(); ++i)
      if (classes[i] == 0) rows.push_back(static_cast<std::int64_t>(i));
    return rows;
  };
  EXPECT_EQ(positives(heads.relabel({boxes}, {{64, 64}}, {truths}, 1)[0]), (Numbers{3, 4, 5}));
  EXPECT_EQ(positives(heads.relabel({boxes}, {{64, 64}}, {truths}, 2)[0]), (Numbers{5}));
  // The first stage samples among proposals and truths; here all of them.
  const rcnn::Sampler everything = [](const Tensor& labels, const rcnn::SamplerOptions&) {
    return rcnn::SampledIndices{Tensor::arange(labels.numel()), Tensor::zeros({0}, DType::kI64)};
  };
  EXPECT_EQ(positives(heads.sample({{boxes, Tensor::zeros({6})}}, {truths}, everything)[0]),
            (Numbers{1, 2, 3, 4, 5, 6}));
}

// Blocks of boxes and truths near them against all overlaps at once: ties, truths that nothing overlaps, equal boxes,
// boxes without area and values whose overlaps are NaN.
TEST(Matcher, BoxesAreMatchedAsByAllOverlaps) {
  Generator generator(5);
  const auto random_boxes = [&](std::int64_t n, std::uint64_t frame) {
    std::vector<float> sides;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(generator.below(frame)), y = static_cast<float>(i * 600 / n);
      sides.insert(sides.end(),
                   {x, y, x + static_cast<float>(generator.below(40)), y + static_cast<float>(generator.below(40))});
    }
    return Tensor::from(sides, {n, 4});
  };
  for (const auto& [truths, boxes, far] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 0}, {3, 5, 0}, {40, 3000, 0}, {40, 1024, 1}, {200, 2049, 0}, {200, 2500, 2}, {0, 4, 0}, {4, 0, 0}}) {
    Tensor a = random_boxes(truths, 300);
    const Tensor b = random_boxes(boxes, 300);
    if (far == 1) a.select(0, 7).fill(2000);  // nothing overlaps it
    if (far == 2) a.select(0, 9).copy_from(Tensor::from<float>({-3e38F, -3e38F, 3e38F, 3e38F}, {4}));
    for (const bool low_quality : {false, true}) {
      const rcnn::MatcherOptions options{.low = 0.2, .high = 0.4, .low_quality = low_quality};
      const rcnn::Matches expected = rcnn::match(pairwise_iou(a, b), options), got = rcnn::match_boxes(a, b, options);
      EXPECT_EQ(got.truth.to_vector<std::int64_t>(), expected.truth.to_vector<std::int64_t>())
          << truths << ' ' << boxes;
      EXPECT_EQ(got.label.to_vector<std::int64_t>(), expected.label.to_vector<std::int64_t>())
          << truths << ' ' << boxes;
    }
  }
}

TEST(Sampler, SharesAndRepeats) {
  Generator generator(3);
  const rcnn::Sampler sampler = rcnn::random_sampler(generator);
  Numbers labels(100, 1);  // classes 0 and 1; 2 is background
  for (std::size_t i = 0; i < 40; ++i) labels[i] = i < 10 ? -1 : 2;
  const Tensor all = Tensor::from(labels, {100});
  const auto some = sampler(all, {.count = 32, .positive_fraction = 0.25, .background = 2});
  EXPECT_EQ(some.positive.numel(), 8);
  EXPECT_EQ(some.negative.numel(), 24);
  std::set<std::int64_t> seen;
  for (const std::int64_t i : some.positive.to_vector<std::int64_t>()) EXPECT_TRUE(i >= 40 && seen.insert(i).second);
  for (const std::int64_t i : some.negative.to_vector<std::int64_t>())
    EXPECT_TRUE(i >= 10 && i < 40 && seen.insert(i).second);
  const auto few = sampler(all, {.count = 80, .positive_fraction = 0.25, .background = 2});
  EXPECT_EQ(few.positive.numel(), 20);
  EXPECT_EQ(few.negative.numel(), 30);  // all there are
  // What is drawn depends on the picture's number in the batch and on what is sampled, not on what was drawn before.
  const auto drawn = [&](std::int64_t first, std::int64_t picture, bool of_regions) {
    return rcnn::random_sampler(Generator(3), first)(
               all,
               {.count = 32, .positive_fraction = 0.25, .background = 2, .picture = picture, .of_regions = of_regions})
        .negative.to_vector<std::int64_t>();
  };
  EXPECT_EQ(drawn(0, 0, false), some.negative.to_vector<std::int64_t>());
  EXPECT_EQ(drawn(0, 5, true), drawn(3, 2, true));
  EXPECT_NE(drawn(0, 5, true), drawn(0, 5, false));
  EXPECT_NE(drawn(0, 5, true), drawn(0, 4, true));
}

TEST(RoiPooler, LevelsAtTheirBorders) {
  std::vector<float> boxes;
  for (const float side : {0.0f, 1.0f, 111.9f, 112.0f, 223.9f, 224.0f, 448.0f, 900.0f, 5000.0f})
    boxes.insert(boxes.end(), {10, 10, 10 + side, 10 + side});
  EXPECT_EQ(rcnn::assign_levels(Tensor::from(boxes, {9, 4}), 4).to_vector<std::int64_t>(),
            (Numbers{0, 0, 0, 1, 1, 2, 3, 3, 3}));
}

TEST(RoiPooler, CropsOfMasks) {
  Tensor masks = Tensor::zeros({2, 8, 8}, DType::kU8);
  masks.select(0, 1).slice(1, 4, 8).fill(1);  // the right half
  const Tensor boxes = Tensor::from<float>({0, 0, 8, 8, 4, 0, 8, 8}, {2, 4});
  const auto crops = rcnn::crop_masks(masks, Tensor::from<std::int64_t>({1, 1}, {2}), boxes, 2).to_vector<float>();
  EXPECT_EQ(crops, (std::vector<float>{0, 1, 0, 1, 1, 1, 1, 1}));
  // A bin of which exactly half is in the mask belongs to it.
  const Tensor half = Tensor::from<float>({2, 0, 6, 8}, {1, 4});
  EXPECT_EQ(rcnn::crop_masks(masks, Tensor::from<std::int64_t>({1}, {1}), half, 1).item(), 1);
  EXPECT_EQ(rcnn::crop_masks(masks, Tensor::zeros({0}, DType::kI64), Tensor::zeros({0, 4}), 2).shape(),
            (Shape{0, 2, 2}));
}

TEST(RoiPooler, CropsOfHundredsOfMasksAreThoseOfEach) {
  constexpr std::int64_t kMasks = 150, kBoxes = 200;
  Tensor masks = Tensor::zeros({kMasks, 20, 24}, DType::kU8);
  Generator generator(4);
  std::vector<std::int64_t> truth;
  std::vector<float> sides;
  for (std::int64_t i = 0; i < kMasks; ++i) {
    const auto x = static_cast<std::int64_t>(generator.below(16)), y = static_cast<std::int64_t>(generator.below(12));
    masks.select(0, i).slice(0, y, y + 7).slice(1, x, x + 5).fill(1);
  }
  for (std::int64_t i = 0; i < kBoxes; ++i) {
    truth.push_back(static_cast<std::int64_t>(generator.below(kMasks)));
    const float x = 10 * generator.uniform(), y = 10 * generator.uniform();
    sides.insert(sides.end(), {x, y, x + 12, y + 9});
  }
  const Tensor boxes = Tensor::from(sides, {kBoxes, 4});
  const Tensor crops = rcnn::crop_masks(masks, Tensor::from(truth, {kBoxes}), boxes, 4);
  ASSERT_EQ(crops.shape(), (Shape{kBoxes, 4, 4}));
  for (std::int64_t i = 0; i < kBoxes; ++i) {
    const std::int64_t mask = truth[static_cast<std::size_t>(i)];
    const Tensor alone = rcnn::crop_masks(masks.slice(0, mask, mask + 1), Tensor::from<std::int64_t>({0}, {1}),
                                          boxes.slice(0, i, i + 1), 4);
    EXPECT_EQ(crops.select(0, i).to_vector<float>(), alone.to_vector<float>()) << i;
  }
}

TEST(DropLoss, TheReleasesTruthsAreTheFirstRegions) {
  // Two distinct boxes among three regions: the first two regions' boxes, which are one and the same.
  const Tensor matched = Tensor::from<float>({0, 0, 4, 4, 0, 0, 4, 4, 5, 5, 9, 9}, {3, 4});
  EXPECT_EQ(rcnn::release_truths(matched).to_vector<float>(), (std::vector<float>{0, 0, 4, 4, 0, 0, 4, 4}));
  EXPECT_EQ(rcnn::release_truths(Tensor::zeros({0, 4})).size(0), 0);
  const Tensor decoded = Tensor::from<float>({0, 0, 4, 4, 5, 5, 9, 9, 3.9f, 0, 100, 40}, {3, 4});
  EXPECT_EQ(rcnn::droploss_weights(decoded, matched.slice(0, 0, 1), 0.01).to_vector<float>(),
            (std::vector<float>{1, 0, 0}));
  EXPECT_EQ(rcnn::droploss_weights(decoded, Tensor::zeros({0, 4}), 0.01).to_vector<float>(),
            (std::vector<float>{0, 0, 0}));
}

TEST(DropLoss, OnlyMoreThanTheBoundKeepsARegion) {
  EXPECT_EQ(rcnn::DropLoss{}.iou, 0.01);
  EXPECT_FALSE(rcnn::DropLoss{}.preset);
  // Overlaps of exactly 1/4, and of a little more.
  const Tensor truth = Tensor::from<float>({0, 0, 2, 2}, {1, 4});
  const Tensor decoded = Tensor::from<float>({0, 0, 1, 1, 0, 0, 1, 1.0625f}, {2, 4});
  EXPECT_EQ(rcnn::droploss_weights(decoded, truth, 0.25).to_vector<float>(), (std::vector<float>{0, 1}));
}

TEST(DropLoss, TheReleaseLooksAtAHundredRegions) {
  // 98 regions of one object, then two of others: three distinct ones. A further one is not seen.
  std::vector<float> boxes;
  for (int i = 0; i < 98; ++i) boxes.insert(boxes.end(), {0, 0, 4, 4});
  for (const float x : {5.0f, 6.0f, 7.0f}) boxes.insert(boxes.end(), {x, 0, x + 4, 4});
  EXPECT_EQ(rcnn::release_truths(Tensor::from(boxes, {101, 4})).size(0), 3);
}

// Source: Detectron2's defaults and CutLER's configuration of its detector.
TEST(RcnnConstants, AreThePapers) {
  const RcnnConfig c = cutler_config();
  EXPECT_EQ(c.rpn.channels, 256);
  EXPECT_EQ(c.rpn.convolutions, 1);
  EXPECT_EQ(c.rpn.first_anchor_px, 32);
  EXPECT_EQ(c.rpn.nms, 0.65);
  EXPECT_EQ(c.rpn.pre_nms_train, 2000);
  EXPECT_EQ(c.rpn.pre_nms_test, 1000);
  EXPECT_EQ(c.rpn.post_nms_train, 4000);
  EXPECT_EQ(c.rpn.post_nms_test, 1000);
  EXPECT_EQ(c.rpn.negative_below, 0.3);
  EXPECT_EQ(c.rpn.positive_from, 0.7);
  EXPECT_EQ(c.rpn.samples, 256);
  EXPECT_EQ(c.heads.stages, 3);
  EXPECT_EQ(c.heads.samples, 512);
  EXPECT_EQ(c.heads.positive_fraction, 0.25);
  EXPECT_EQ(c.heads.box.pooled, 7);
  EXPECT_EQ(c.heads.box.fully_connected, 2);
  EXPECT_EQ(c.heads.box.hidden, 1024);
  EXPECT_EQ(c.heads.box.classes, 1);
  EXPECT_TRUE(c.heads.box.class_agnostic);
  ASSERT_TRUE(c.heads.mask.has_value());
  EXPECT_EQ(c.heads.mask_pooled, 14);
  EXPECT_EQ(c.heads.mask->convolutions, 4);
  EXPECT_EQ(c.heads.mask->hidden, 256);
  EXPECT_FALSE(c.heads.droploss.preset);
  const rcnn::DetectOptions detect;
  EXPECT_EQ(detect.score, 0);
  EXPECT_EQ(detect.nms, 0.5);
  EXPECT_EQ(detect.most, 100);
  const rcnn::BoxCoder rpn;
  EXPECT_EQ(rpn.weights, (std::array<double, 4>{1, 1, 1, 1}));
}

// The spread of new weights, over some thousands of each.
TEST(RcnnConstants, WeightsStartAsDetectron2s) {
  ParamStore store(1);
  const Scope scope(store);
  const rcnn::Rpn rpn(scope / "rpn", {});
  const rcnn::BoxHead box(scope / "head", scope / "box_predictor",
                          {.channels = 4, .fully_connected = 1, .hidden = 4096}, {});
  const rcnn::MaskHead mask(scope / "mask", {.channels = 4, .hidden = 4096, .convolutions = 0});
  const auto spread = [&](const std::string& name) {
    double sum = 0;
    const auto values = store.entries().at(name).tensor.to_vector<float>();
    for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
    return std::sqrt(sum / static_cast<double>(values.size()));
  };
  const std::map<std::string, double> expected = {
      {"rpn.rpn_head.conv.weight", 0.01},          {"rpn.rpn_head.objectness_logits.weight", 0.01},
      {"rpn.rpn_head.anchor_deltas.weight", 0.01}, {"box_predictor.cls_score.weight", 0.01},
      {"box_predictor.bbox_pred.weight", 0.001},   {"mask.predictor.weight", 0.001}};
  for (const auto& [name, deviation] : expected) EXPECT_NEAR(spread(name) / deviation, 1, 0.1) << name;
}

}  // namespace
}  // namespace usol::test
