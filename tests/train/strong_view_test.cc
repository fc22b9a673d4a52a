// FreeSOLO's training pictures: strong views against torchvision on Pillow images, pasted pictures against the public
// code (golden, made by tests/golden/make_views.py), and what is drawn for them.
#include "usol/train/strong_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/noise.h"
#include "usol/io/rle.h"
#include "usol/tensor/error.h"
#include "usol/train/augment.h"
#include "usol/train/copy_paste.h"
#include "usol/train/truth_boxes.h"

namespace usol::train {
namespace {

using Golden = std::map<std::string, Tensor>;

StrongView view_of(const Golden& golden, const std::string& name) {
  const auto p = golden.at(name + "/parameters").to_vector<double>();
  StrongView view;
  view.jittered = true;
  for (std::size_t i = 0; i < 4; ++i) view.jitter.order[i] = static_cast<int>(p[i]);
  view.jitter.brightness = p[4];
  view.jitter.contrast = p[5];
  view.jitter.saturation = p[6];
  view.jitter.hue = p[7];
  view.grey = p[8] != 0;
  view.blur = p[9];
  for (int k = 0; golden.contains(name + "/rectangle/" + std::to_string(k)); ++k) {
    const auto r = golden.at(name + "/rectangle/" + std::to_string(k)).to_vector<std::int64_t>();
    view.erased.push_back({r[0], r[1], r[2], r[3], golden.at(name + "/noise/" + std::to_string(k)).to_vector<float>()});
  }
  return view;
}

TEST(StrongView, BytesAreTorchvisions) {
  const Golden golden = test::load_golden("views.safetensors");
  const Tensor picture = test::noise(26, 34, 3), before = picture.clone();
  std::size_t erased = 0;
  for (const std::string name : {"view/0", "view/1", "view/2"}) {
    const StrongView view = view_of(golden, name);
    erased += view.erased.size();
    EXPECT_EQ(strong_view(picture, view).to_vector<std::uint8_t>(), golden.at(name).to_vector<std::uint8_t>()) << name;
  }
  EXPECT_EQ(erased, 5u);
  EXPECT_EQ(picture.to_vector<std::uint8_t>(), before.to_vector<std::uint8_t>()) << "the weak view stays";
  EXPECT_EQ(strong_view(picture, {}).to_vector<std::uint8_t>(), before.to_vector<std::uint8_t>());
}

// Source: FreeSOLO's build_strong_augmentation.
TEST(StrongView, DefaultsAreFreeSolos) {
  const StrongViewOptions o;
  EXPECT_EQ(o.jitter, 0.8);
  EXPECT_EQ(o.grey, 0.2);
  EXPECT_EQ(o.blur, 0.5);
  EXPECT_EQ(o.ranges.brightness, 0.4);
  EXPECT_EQ(o.ranges.contrast, 0.4);
  EXPECT_EQ(o.ranges.saturation, 0.4);
  EXPECT_EQ(o.ranges.hue, 0.1);
  EXPECT_EQ(o.least_blur, 0.1);
  EXPECT_EQ(o.most_blur, 2);
  const double expected[3][5] = {{0.7, 0.05, 0.2, 0.3, 3.3}, {0.5, 0.02, 0.2, 0.1, 6}, {0.3, 0.02, 0.2, 0.05, 8}};
  for (std::size_t i = 0; i < 3; ++i) {
    const ErasingOptions& e = o.erasings[i];
    const double own[5] = {e.probability, e.least_area, e.most_area, e.least_ratio, e.most_ratio};
    for (std::size_t k = 0; k < 5; ++k) EXPECT_EQ(own[k], expected[i][k]) << i << ' ' << k;
  }
}

TEST(StrongView, DrawsWhatTheOptionsSay) {
  const StrongViewOptions options;
  const Size size{90, 120};
  Generator generator(4, 2);
  constexpr int kViews = 1000;
  int jittered = 0, grey = 0, blurred = 0, erased[3] = {};
  double least_blur = 9, most_blur = 0;
  for (int i = 0; i < kViews; ++i) {
    const StrongView view = draw_strong_view(size, {.erasings = {}}, generator);
    jittered += view.jittered;
    grey += view.grey;
    blurred += view.blur > 0;
    EXPECT_TRUE(view.erased.empty());
    if (view.blur > 0) {
      least_blur = std::min(least_blur, view.blur);
      most_blur = std::max(most_blur, view.blur);
    }
    EXPECT_LE(std::abs(view.jitter.saturation - 1), 0.4);
  }
  // Four standard deviations.
  EXPECT_NEAR(jittered, 800, 51);
  EXPECT_NEAR(grey, 200, 51);
  EXPECT_NEAR(blurred, 500, 64);
  EXPECT_NEAR(least_blur, 0.1, 0.05);
  EXPECT_NEAR(most_blur, 2, 0.05);
  for (std::size_t k = 0; k < 3; ++k) {
    StrongViewOptions one;
    one.erasings = {options.erasings[k], {}, {}};
    for (int i = 0; i < 300; ++i) erased[k] += static_cast<int>(draw_strong_view(size, one, generator).erased.size());
  }
  EXPECT_NEAR(erased[0], 210, 32);
  EXPECT_NEAR(erased[1], 150, 35);
  EXPECT_NEAR(erased[2], 90, 32);
}

TEST(StrongView, RectanglesHaveTheAreaAndRatioAskedFor) {
  const ErasingOptions options{1, 0.05, 0.2, 0.3, 3.3};
  const Size size{90, 120};
  Generator generator(1, 2);
  double least_ratio = 9, most_ratio = 0, least_area = 1, most_area = 0, sum = 0, squares = 0, numbers = 0;
  int upper = 0;
  for (int i = 0; i < 400; ++i) {
    const Erased erased = draw_erased(size, options, generator);
    ASSERT_GT(erased.height, 0);
    ASSERT_LT(erased.height, size.height);
    ASSERT_LT(erased.width, size.width);
    ASSERT_LE(erased.top + erased.height, size.height);
    ASSERT_LE(erased.left + erased.width, size.width);
    ASSERT_EQ(erased.noise.size(), static_cast<std::size_t>(3 * erased.height * erased.width));
    const double ratio = static_cast<double>(erased.height) / static_cast<double>(erased.width);
    const double area = static_cast<double>(erased.height * erased.width) / (90.0 * 120.0);
    least_ratio = std::min(least_ratio, ratio);
    most_ratio = std::max(most_ratio, ratio);
    least_area = std::min(least_area, area);
    most_area = std::max(most_area, area);
    upper += ratio > 1;
    for (const float number : erased.noise) {
      sum += number;
      squares += number * number;
    }
    numbers += static_cast<double>(erased.noise.size());
  }
  EXPECT_NEAR(least_ratio, 0.3, 0.06);
  EXPECT_NEAR(most_ratio, 3.3, 0.35);
  EXPECT_NEAR(least_area, 0.05, 0.01);
  EXPECT_NEAR(most_area, 0.2, 0.01);
  EXPECT_NEAR(upper, 200, 40) << "the ratio's logarithm is uniform";
  EXPECT_NEAR(sum / numbers, 0, 0.01);
  EXPECT_NEAR(squares / numbers, 1, 0.01);
  // Where nothing fits, nothing is erased.
  EXPECT_EQ(draw_erased({1, 400}, options, generator).height, 0);
}

TEST(StrongView, ARectangleMustFit) {
  const Tensor picture = test::noise(8, 8, 3);
  StrongView view;
  view.erased.push_back({6, 6, 3, 2, std::vector<float>(18)});
  EXPECT_THROW(strong_view(picture, view), Error);
  view.erased[0] = {6, 6, 2, 2, std::vector<float>(11)};
  EXPECT_THROW(strong_view(picture, view), Error);
}

class FreeSoloPaste : public testing::TestWithParam<const char*> {
 protected:
  const Tensor& get(const std::string& what) const {
    return golden_.at("paste/" + std::string(GetParam()) + "/" + what);
  }
  Sample sample_of(const std::string& what) const {
    Sample sample{get(what), get(what + "_masks"), get(what + "_boxes"), {}};
    for (std::int64_t i = 0; i < sample.masks.size(0); ++i) sample.classes.push_back(i);
    return sample;
  }

 private:
  Golden golden_ = test::load_golden("views.safetensors");
};

// At full size, where the corner of the pasted picture is 0. What the others hide wholly stays there as an object
// without a pixel, of which no target is made; here it goes.
TEST_P(FreeSoloPaste, ReleaseEqualsThePublicCode) {
  const Paste paste{get("chosen").to_vector<std::int64_t>(), 1, 0, 0};
  const Sample result = pasted(sample_of("target"), sample_of("source"), paste, Preset::kRelease);
  const Tensor all = get("result_masks"), all_boxes = get("result_boxes");
  const auto all_classes = get("result_classes").to_vector<std::int64_t>();
  std::size_t at = 0;
  for (std::int64_t i = 0; i < all.size(0); ++i) {
    const auto mask = all.select(0, i).to_vector<std::uint8_t>();
    if (std::all_of(mask.begin(), mask.end(), [](std::uint8_t v) { return v == 0; })) continue;
    const auto own = static_cast<std::int64_t>(at);
    ASSERT_LT(own, result.size());
    EXPECT_EQ(result.masks.select(0, own).to_vector<std::uint8_t>(), mask) << i;
    EXPECT_EQ(result.classes[at], all_classes[static_cast<std::size_t>(i)]);
    const auto a = result.boxes.select(0, own).to_vector<float>(), b = all_boxes.select(0, i).to_vector<float>();
    for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(a[k], b[k], 1e-5) << i;
    ++at;
  }
  EXPECT_EQ(result.size(), static_cast<std::int64_t>(at));
  // A weighted sum that is a whole number but for its last bit may be truncated to the level below.
  const auto a = result.image.to_vector<std::uint8_t>(), b = get("result").to_vector<std::uint8_t>();
  ASSERT_EQ(a.size(), b.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_LE(std::abs(int{a[i]} - int{b[i]}), 1) << i;
    different += a[i] != b[i];
  }
  EXPECT_LE(different, a.size() / 100);
}

INSTANTIATE_TEST_SUITE_P(Cases, FreeSoloPaste,
                         testing::Values("several", "empty_target", "covering", "all_left_out", "none", "hidden"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(FreeSoloPasteChoice, AnyNumberIsUniformFromNoneToAll) {
  Sample sample{test::noise(8, 8, 3), Tensor::full({4, 8, 8}, 1, DType::kU8), Tensor::zeros({4, 4}), {0, 1, 2, 3}};
  Generator generator(3, 1);
  std::map<std::size_t, int> counts, without;
  for (int i = 0; i < 1000; ++i) {
    const Paste paste = choose_paste(sample, sample, {.least_ratio = 1, .any_number = true}, generator);
    ++counts[paste.objects.size()];
    EXPECT_EQ(paste.ratio, 1);
    EXPECT_EQ(paste.x, 0);
    std::vector<std::int64_t> sorted = paste.objects;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
    ++without[choose_paste(sample, sample, {}, generator).objects.size()];
  }
  for (std::size_t n = 0; n <= 4; ++n) EXPECT_NEAR(counts[n], 200, 51) << n;
  EXPECT_EQ(counts.size(), 5u);
  EXPECT_EQ(without.size(), 3u) << "CutLER's: 1 to n - 1";
}

TEST(CopyPastedFromOthers, TargetsGetOfTheSourcesInReverse) {
  const auto picture = [](double level) {
    return Sample{Tensor::full({4, 4, 3}, level, DType::kU8),
                  Tensor::full({1, 4, 4}, 1, DType::kU8),
                  Tensor::from<float>({0, 0, 4, 4}, {1, 4}),
                  {0}};
  };
  std::vector<Sample> targets{picture(10), picture(20)}, sources{picture(30), picture(40)};
  for (Sample& target : targets) target = with_objects(target, {});
  std::vector<Generator> generators{Generator(1), Generator(2)};
  const auto result = copy_pasted(targets, sources, {.least_ratio = 1}, generators);
  EXPECT_EQ(result[0].image.to_vector<std::uint8_t>(), sources[1].image.to_vector<std::uint8_t>());
  EXPECT_EQ(result[1].image.to_vector<std::uint8_t>(), sources[0].image.to_vector<std::uint8_t>());
  EXPECT_THROW(copy_pasted(targets, {sources[0]}, {}, generators), Error);
}

TEST(TruthBoxes, AreTheFilesTheMasksOrTheReleases) {
  Tensor mask = Tensor::zeros({20, 30}, DType::kU8);
  mask.slice(0, 4, 9).slice(1, 6, 16).fill(1);
  const auto boxes = [&](const char* which) {
    CompactSample sample{Tensor::zeros({20, 30, 3}, DType::kU8),
                         {io::rle_encode(mask)},
                         Tensor::from<float>({5, 3, 17, 9}, {1, 4}),
                         {0}};
    set_truth_boxes(sample, parse_truth_boxes(which));
    return sample.boxes.to_vector<float>();
  };
  EXPECT_EQ(boxes("file"), (std::vector<float>{5, 3, 17, 9}));
  EXPECT_EQ(boxes("masks"), (std::vector<float>{6, 4, 16, 9}));
  EXPECT_EQ(boxes("corners"), (std::vector<float>{5, 3, 22, 12}));
  EXPECT_THROW(parse_truth_boxes("boxes"), Error);
}

}  // namespace
}  // namespace usol::train
