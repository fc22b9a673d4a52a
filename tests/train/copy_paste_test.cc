// Resizing, flipping and copy-paste of training pictures against Detectron2's and CutLER's own code.
#include "usol/train/copy_paste.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "tests/support/golden.h"
#include "usol/io/rle.h"
#include "usol/tensor/error.h"
#include "usol/train/augment.h"
#include "usol/train/bit_mask.h"

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

TEST(Augment, DefaultsAreThePapers) {
  const AugmentOptions options;
  EXPECT_EQ(options.short_sides, (std::vector<std::int64_t>{240, 320, 480, 640, 672, 704, 736, 768, 800, 1024}));
  EXPECT_EQ(options.long_side, 1333);
  EXPECT_EQ(options.flip, 0.5);
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

// Each object's class stands in its row.
void tag(Sample& sample, std::int64_t first) {
  std::vector<float> rows;
  for (std::int64_t i = 0; i < sample.size(); ++i) {
    sample.classes[static_cast<std::size_t>(i)] = first + i;
    rows.insert(rows.end(), {static_cast<float>(first + i), 1});
  }
  sample.embeddings = Tensor::from(rows, {sample.size(), 2});
}

void expect_tags(const Sample& sample) {
  ASSERT_TRUE(sample.embeddings.defined());
  ASSERT_EQ(sample.embeddings.shape(), (Shape{sample.size(), 2}));
  const auto rows = sample.embeddings.to_vector<float>();
  for (std::size_t i = 0; i < sample.classes.size(); ++i)
    EXPECT_EQ(rows[2 * i], static_cast<float>(sample.classes[i])) << i;
}

TEST(Augment, EmbeddingsGoWithTheirObjects) {
  Sample sample{Tensor::zeros({8, 8, 3}, DType::kU8),
                Tensor::full({3, 8, 8}, 1, DType::kU8),
                Tensor::from<float>({0, 0, 8, 8, 3, 3, 3, 5, 1, 1, 4, 4}, {3, 4}),
                {5, 6, 7}};
  EXPECT_FALSE(transformed(sample, 16, 16, true).embeddings.defined());
  EXPECT_FALSE(with_objects(sample, {0}).embeddings.defined());
  tag(sample, 5);
  const Sample moved = transformed(sample, 16, 16, true);  // without the second, whose box has no area
  EXPECT_EQ(moved.classes, (std::vector<std::int64_t>{5, 7}));
  expect_tags(moved);
  expect_tags(with_objects(sample, {2, 0}));
  expect_tags(with_objects(sample, {}));
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
  const Sample result = pasted(target_, source_, paste_, Preset::kRelease);
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

TEST_P(CopyPaste, EmbeddingsGoWithTheirObjects) {
  EXPECT_FALSE(pasted(target_, source_, paste_, Preset::kPaper).embeddings.defined());
  tag(target_, 0);
  if (!paste_.objects.empty()) {
    EXPECT_THROW(pasted(target_, source_, paste_, Preset::kPaper), Error);
  }
  tag(source_, 100);
  for (const Preset preset : {Preset::kPaper, Preset::kRelease}) expect_tags(pasted(target_, source_, paste_, preset));
}

TEST_P(CopyPaste, PaperHasNoEmptyObjectsAndTightBoxes) {
  const Sample result = pasted(target_, source_, paste_, Preset::kPaper);
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

TEST(ChoosePaste, DefaultsAreThePapers) {
  const CopyPasteOptions options;
  EXPECT_EQ(options.least_ratio, 0.3);
  EXPECT_EQ(options.most_ratio, 1);
  EXPECT_EQ(options.preset, Preset::kPaper);
}

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
    EXPECT_NO_THROW(pasted(target, source, paste, Preset::kPaper));
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
  const Sample second = pasted(b, a, choose_paste(b, a, {}, again), Preset::kPaper);
  EXPECT_TRUE(same(both[1].image, second.image));
  EXPECT_TRUE(same(both[1].masks, second.masks));
  EXPECT_FALSE(same(both[0].image, a.image));
}

// The plain version of pasted(): whole masks, pixel by pixel.
class PlainPaste {
 public:
  static Sample pasted(const Sample& target, const Sample& source, const Paste& paste, bool release) {
    const auto unchanged = [&] {
      Sample same = target;
      if (!release) same.boxes = boxes_of(same);
      return same;
    };
    const std::int64_t height = target.height(), width = target.width(), pixels = height * width;
    const std::int64_t h =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(paste.ratio * static_cast<double>(height)));
    const std::int64_t w =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(paste.ratio * static_cast<double>(width)));
    const Bytes existing = target.masks.to_vector<std::uint8_t>();
    std::vector<Bytes> masks;
    std::vector<std::int64_t> classes;
    for (const std::int64_t object : paste.objects) {
      const std::vector<float> values =
          stretched(source.masks.select(0, object).to_vector<std::uint8_t>(), source.height(), source.width(), 1, h, w);
      Bytes mask(static_cast<std::size_t>(pixels));
      for (std::int64_t y = 0; y < h; ++y)
        for (std::int64_t x = 0; x < w; ++x)
          if (values[static_cast<std::size_t>(y * w + x)] != 0) mask[at(y + paste.y, x + paste.x, width)] = 1;
      bool left_out = !release && std::count(mask.begin(), mask.end(), 1) == 0;
      for (std::int64_t i = 0; i < target.size(); ++i) {
        std::int64_t both = 0, area = 0;
        for (std::int64_t p = 0; p < pixels; ++p) {
          area += existing[at(i, p, pixels)];
          both += existing[at(i, p, pixels)] & mask[static_cast<std::size_t>(p)];
        }
        left_out = left_out || static_cast<double>(both) >= 0.5 * static_cast<double>(area);
      }
      if (left_out) continue;
      masks.push_back(mask);
      classes.push_back(source.classes[static_cast<std::size_t>(object)]);
    }
    if (masks.empty()) return unchanged();
    const std::vector<float> colours =
        stretched(source.image.to_vector<std::uint8_t>(), source.height(), source.width(), 3, h, w);
    Bytes image = target.image.to_vector<std::uint8_t>(), all;
    Bytes hidden(static_cast<std::size_t>(pixels));
    for (const Bytes& mask : masks)
      for (std::size_t p = 0; p < mask.size(); ++p) hidden[p] |= mask[p];
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x)
        for (std::int64_t c = 0; c < 3; ++c)
          if (hidden[at(y + paste.y, x + paste.x, width)] != 0)
            image[3 * at(y + paste.y, x + paste.x, width) + static_cast<std::size_t>(c)] =
                static_cast<std::uint8_t>(colours[static_cast<std::size_t>(3 * (y * w + x) + c)]);
    Sample result;
    result.image = Tensor::from(image, target.image.shape());
    for (std::int64_t i = 0; i < target.size(); ++i) {
      Bytes left(existing.begin() + i * pixels, existing.begin() + (i + 1) * pixels);
      for (std::size_t p = 0; p < left.size(); ++p) left[p] = hidden[p] != 0 ? 0 : left[p];
      if (std::count(left.begin(), left.end(), 1) == 0) continue;
      all.insert(all.end(), left.begin(), left.end());
      result.classes.push_back(target.classes[static_cast<std::size_t>(i)]);
    }
    for (const Bytes& mask : masks) all.insert(all.end(), mask.begin(), mask.end());
    result.classes.insert(result.classes.end(), classes.begin(), classes.end());
    result.masks = Tensor::from(all, {result.size(), height, width});
    result.boxes = boxes_of(result);
    return result;
  }

 private:
  using Bytes = std::vector<std::uint8_t>;

  static std::size_t at(std::int64_t y, std::int64_t x, std::int64_t width) {
    return static_cast<std::size_t>(y * width + x);
  }

  // Bilinear as PyTorch's upsample_bilinear2d with align_corners=False.
  static std::vector<float> stretched(const Bytes& from, std::int64_t height, std::int64_t width, std::int64_t channels,
                                      std::int64_t to_height, std::int64_t to_width) {
    struct Tap {
      std::int64_t low, high;
      float low_weight, high_weight;
    };
    const auto tap = [](std::int64_t i, std::int64_t in, std::int64_t out) {
      const float scale = static_cast<float>(in) / static_cast<float>(out);
      const double place = std::max(static_cast<double>(scale) * (static_cast<double>(i) + 0.5) - 0.5, 0.0);
      const std::int64_t low = std::min(static_cast<std::int64_t>(place), in - 1);
      const float weight = std::min(static_cast<float>(place - static_cast<double>(low)), 1.0F);
      return Tap{low, std::min(low + 1, in - 1), 1 - weight, weight};
    };
    std::vector<float> result;
    for (std::int64_t y = 0; y < to_height; ++y)
      for (std::int64_t x = 0; x < to_width; ++x)
        for (std::int64_t c = 0; c < channels; ++c) {
          const Tap v = tap(y, height, to_height), h = tap(x, width, to_width);
          const auto value = [&](std::int64_t row, std::int64_t column) {
            return static_cast<float>(from[static_cast<std::size_t>((row * width + column) * channels + c)]);
          };
          result.push_back(v.low_weight * (h.low_weight * value(v.low, h.low) + h.high_weight * value(v.low, h.high)) +
                           v.high_weight *
                               (h.low_weight * value(v.high, h.low) + h.high_weight * value(v.high, h.high)));
        }
    return result;
  }

  static Tensor boxes_of(const Sample& sample) {
    std::vector<float> boxes;
    for (std::int64_t i = 0; i < sample.size(); ++i) {
      const Bytes mask = sample.masks.select(0, i).to_vector<std::uint8_t>();
      std::int64_t x0 = sample.width(), y0 = sample.height(), x1 = 0, y1 = 0;
      for (std::int64_t y = 0; y < sample.height(); ++y)
        for (std::int64_t x = 0; x < sample.width(); ++x) {
          if (mask[at(y, x, sample.width())] == 0) continue;
          x0 = std::min(x0, x);
          y0 = std::min(y0, y);
          x1 = std::max(x1, x + 1);
          y1 = y + 1;
        }
      if (y1 == 0) x0 = y0 = 0;
      for (const std::int64_t side : {x0, y0, x1, y1}) boxes.push_back(static_cast<float>(side));
    }
    return Tensor::from(boxes, {sample.size(), 4});
  }
};

// Up to 60 objects: rectangles of all sizes, many of them overlapping, noise, whole pictures, and empty masks.
Sample random_sample(Generator& generator, std::int64_t height, std::int64_t width) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(n)));
  };
  const std::int64_t n = 1 + below(60);
  std::vector<std::uint8_t> image(static_cast<std::size_t>(height * width * 3));
  for (std::uint8_t& value : image) value = static_cast<std::uint8_t>(below(256));
  Sample sample{Tensor::from(image, {height, width, 3}),
                Tensor::zeros({n, height, width}, DType::kU8),
                Tensor::zeros({n, 4}),
                {}};
  const bool with_odd = below(2) == 0;  // an empty mask keeps everything from being pasted
  for (std::int64_t i = 0; i < n; ++i) {
    Tensor mask = sample.masks.select(0, i);
    sample.classes.push_back(i);
    const std::int64_t kind = with_odd ? below(12) : 2 + below(10);
    if (kind == 0) continue;
    if (kind == 1) {
      mask.fill(1);
      continue;
    }
    const std::int64_t most = kind < 8 ? 5 : std::max(height, width);
    const std::int64_t y0 = below(height), x0 = below(width);
    const std::int64_t y1 = std::min(height, y0 + 1 + below(most)), x1 = std::min(width, x0 + 1 + below(most));
    Tensor part = mask.slice(0, y0, y1).slice(1, x0, x1);
    part.fill(1);
    if (kind == 11) {
      std::uint8_t* values = sample.masks.mutable_data<std::uint8_t>() + i * height * width;
      for (std::int64_t p = 0; p < height * width; ++p) values[p] = below(3) == 0 ? 1 : 0;
    }
  }
  return sample;
}

// From runs as from pixels, with masks of so many bytes that their memory comes as pages too; and pasting where the
// rooms say equals looking at all pixels.
TEST(Augment, RunsAndRoomsChangeNothing) {
  Generator generator(12);
  for (const std::int64_t side : {40, 700}) {
    const Sample sample = random_sample(generator, side, side + 9), other = random_sample(generator, side, side + 9);
    CompactSample compact{sample.image, {}, Tensor::empty({sample.size(), 4}), sample.classes};
    for (std::int64_t i = 0; i < sample.size(); ++i) {
      compact.masks.push_back(io::rle_encode(sample.masks.select(0, i)));
      compact.boxes.select(0, i).copy_from(Tensor::from<float>({0, 0, 30, 30}, {4}));
    }
    Sample dense = sample;
    dense.boxes = compact.boxes;
    for (const bool flip : {false, true}) {
      const Sample expected = transformed(dense, side + 20, side / 2, flip);
      const Sample got = transformed(compact, side + 20, side / 2, flip);
      ASSERT_TRUE(same(got.masks, expected.masks));
      ASSERT_EQ(got.classes, expected.classes);
      ASSERT_EQ(got.rooms.size(), got.classes.size());
      ASSERT_EQ(got.file_height, side);
      ASSERT_EQ(with_objects(got, {}).file_height, side);
      Sample unknown = got;
      unknown.rooms.clear();
      const Paste paste = choose_paste(other, got, {}, generator), back = choose_paste(got, other, {}, generator);
      ASSERT_TRUE(
          same(pasted(other, got, paste, Preset::kPaper).masks, pasted(other, unknown, paste, Preset::kPaper).masks));
      ASSERT_TRUE(
          same(pasted(got, other, back, Preset::kPaper).masks, pasted(unknown, other, back, Preset::kPaper).masks));
      ASSERT_EQ(pasted(got, other, back, Preset::kPaper).file_height, side);
    }
  }
}

TEST(Pasted, EqualsThePlainVersion) {
  Generator generator(11);
  const auto side = [&] { return 1 + static_cast<std::int64_t>(generator.below(150)); };
  int changed = 0;
  for (int i = 0; i < 60; ++i) {
    const Sample target = random_sample(generator, side(), side()), source = random_sample(generator, side(), side());
    const CopyPasteOptions options{.least_ratio = i % 3 == 0 ? 0.02 : 0.3};
    const Paste paste = choose_paste(target, source, options, generator);
    for (const bool release : {false, true}) {
      const Sample expected = PlainPaste::pasted(target, source, paste, release);
      const Sample got = pasted(target, source, paste, release ? Preset::kRelease : Preset::kPaper);
      ASSERT_TRUE(same(got.image, expected.image)) << i;
      ASSERT_TRUE(same(got.masks, expected.masks)) << i;
      ASSERT_EQ(got.classes, expected.classes) << i;
      ASSERT_EQ(got.boxes.to_vector<float>(), expected.boxes.to_vector<float>()) << i;
      changed += same(got.masks, target.masks) ? 0 : 1;
    }
  }
  EXPECT_GT(changed, 20);
}

TEST(BitMask, BoxAreaAndOverlapAcrossWords) {
  constexpr std::int64_t kHeight = 5, kWidth = 200;
  Tensor a = Tensor::zeros({kHeight, kWidth}, DType::kU8), b = a.clone();
  a.slice(0, 1, 4).slice(1, 60, 131).fill(1);
  b.slice(0, 2, 5).slice(1, 128, 200).fill(1);
  BitMask first = BitMask::of(a.data<std::uint8_t>(), kHeight, kWidth);
  const BitMask second = BitMask::of(b.data<std::uint8_t>(), kHeight, kWidth);
  EXPECT_EQ(first.room(), (PixelBox{60, 1, 131, 4}));
  EXPECT_EQ(first.area(), 3 * 71);
  EXPECT_EQ(first.overlap(second), 2 * 3);
  EXPECT_EQ(second.overlap(first), 2 * 3);
  first.remove(second);
  EXPECT_EQ(first.area(), 3 * 71 - 2 * 3);
  EXPECT_EQ(first.box(), (PixelBox{60, 1, 131, 4}));
  BitMask both({0, 0, kWidth, kHeight});
  EXPECT_EQ(both.area(), 0);
  EXPECT_EQ(both.box(), PixelBox{});
  both.add(first);
  both.add(second);
  EXPECT_EQ(both.area(), 3 * 71 - 2 * 3 + 3 * 72);
  Tensor written = Tensor::zeros({kHeight, kWidth}, DType::kU8);
  both.write(written.mutable_data<std::uint8_t>(), kWidth);
  a.slice(0, 2, 5).slice(1, 128, 200).fill(1);
  EXPECT_TRUE(same(written, a));
  EXPECT_EQ(BitMask::of(Tensor::zeros({3, 3}, DType::kU8).data<std::uint8_t>(), 3, 3).room(), PixelBox{});
}

}  // namespace
}  // namespace usol::train
