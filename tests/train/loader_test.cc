// The data set and the loader: what is read, in which order, and that threads change nothing.
#include "usol/train/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol::train {
namespace {

// Eight pictures, five of them wide, each with a rectangle or two; one more without objects, one with a crowd alone.
class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    CocoWriter writer(folder_ / "truth.json");
    std::int64_t id = 0;
    for (std::int64_t i = 0; i < 10; ++i) {
      const std::int64_t height = i < 5 ? 24 : 40, width = i < 5 ? 40 : 24;
      const std::string name = "picture" + std::to_string(i) + ".png";
      Tensor image = Tensor::full({height, width, 3}, static_cast<double>(20 * i), DType::kU8);
      image.slice(0, 4, 14).slice(1, 5, 15).fill(250);
      write_png(folder_ / name, image);
      writer.add_image({100 + i, height, width, name});
      if (i == 8) continue;
      for (std::int64_t k = 0; k <= i % 2; ++k) {
        Tensor mask = Tensor::zeros({height, width}, DType::kU8);
        mask.slice(0, 4, 14).slice(1, 5 + 5 * k, 15).fill(1);
        CocoAnnotation annotation;
        annotation.id = ++id;
        annotation.image_id = 100 + i;
        annotation.category_id = k == 0 ? 7 : 3;
        annotation.box = {static_cast<double>(5 + 5 * k), 4, static_cast<double>(10 - 5 * k), 10};
        annotation.is_crowd = i == 9;
        writer.add_annotation(annotation, rle_encode(mask));
      }
    }
    const std::vector<CocoCategory> categories{{7, "seven", ""}, {3, "three", ""}};
    writer.finish(categories);
  }
  Dataset dataset() const { return {folder_ / "truth.json", folder_.path()}; }

  test::TempDir folder_;
};

TEST_F(LoaderTest, ReadsPicturesWithObjects) {
  const Dataset data = dataset();
  EXPECT_EQ(data.size(), 8);
  EXPECT_EQ(data.objects(), 12);
  EXPECT_EQ(data.classes(), 2);
  const Sample sample = data.load(1);
  EXPECT_EQ(data.image(1).id, 101);
  EXPECT_EQ(sample.image.shape(), (Shape{24, 40, 3}));
  EXPECT_EQ(sample.classes, (std::vector<std::int64_t>{1, 0}));  // categories by ascending id
  EXPECT_EQ(sample.boxes.to_vector<float>(), (std::vector<float>{5, 4, 15, 14, 10, 4, 15, 14}));
  EXPECT_EQ(sample.masks.select(0, 1).to_vector<std::uint8_t>()[4 * 40 + 10], 1);
  EXPECT_EQ(sample.masks.select(0, 1).to_vector<std::uint8_t>()[4 * 40 + 9], 0);
}

TEST_F(LoaderTest, ErrorsNameTheFile) {
  const auto message_of = [](const auto& function) -> std::string {
    try {
      function();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message_of([&] { Dataset(folder_ / "truth.json", folder_ / "nowhere"); }).find("nowhere"),
            std::string::npos);
  test::write_text(folder_ / "empty.json", R"({"images": [], "annotations": [], "categories": []})");
  EXPECT_NE(message_of([&] { Dataset(folder_ / "empty.json", folder_.path()); }).find("no image has objects"),
            std::string::npos);
  const Dataset data = dataset();
  fs::remove(folder_ / "picture3.png");
  write_png(folder_ / "picture4.png", Tensor::zeros({9, 9, 3}, DType::kU8));
  EXPECT_NE(message_of([&] { data.load(3); }).find("picture3.png"), std::string::npos);
  EXPECT_NE(message_of([&] { data.load(4); }).find("9 x 9"), std::string::npos);
  Loader loader(data, {.batch = 4, .augment = {.short_sides = {24}}});
  EXPECT_NE(message_of([&] {
              for (int i = 0; i < 5; ++i) loader.next();
            }).find("picture"),
            std::string::npos);
}

TEST(GroupSampler, EveryPictureOnceAnEpochAndGroupsOfOneShape) {
  const std::vector<bool> wide{true, true, false, true, false, false, true, true, false, false};
  GroupSampler sampler(wide, 2, 5);
  std::map<std::int64_t, std::multiset<std::int64_t>> seen;
  for (int i = 0; i < 50; ++i) {
    const auto group = sampler.next();
    ASSERT_EQ(group.size(), 2u);
    EXPECT_EQ(wide[static_cast<std::size_t>(group[0].index)], wide[static_cast<std::size_t>(group[1].index)]);
    for (const auto& item : group) seen[item.epoch].insert(item.index);
  }
  for (std::int64_t epoch = 0; epoch < 9; ++epoch) {
    EXPECT_EQ(seen[epoch].size(), 10u);
    for (std::int64_t i = 0; i < 10; ++i) EXPECT_EQ(seen[epoch].count(i), 1u);
  }
  GroupSampler other(wide, 2, 6), same(wide, 2, 5), first(wide, 2, 5);
  int differences = 0;
  for (int i = 0; i < 10; ++i) {
    const auto a = first.next(), b = same.next(), c = other.next();
    EXPECT_EQ(a[0].index, b[0].index);
    differences += a[0].index != c[0].index || a[1].index != c[1].index ? 1 : 0;
  }
  EXPECT_GT(differences, 2);
}

std::vector<std::uint8_t> bytes_of(const std::vector<Sample>& batch) {
  std::vector<std::uint8_t> all;
  for (const Sample& sample : batch)
    for (const Tensor& tensor : {sample.image, sample.masks}) {
      const auto bytes = tensor.to_vector<std::uint8_t>();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
  return all;
}

TEST_F(LoaderTest, ThreadsAndTheStartChangeNothing) {
  const Dataset data = dataset();
  LoaderOptions options{.batch = 4, .seed = 9, .augment = {.short_sides = {20, 24, 32}}, .threads = 1, .ahead = 1};
  std::vector<std::vector<std::uint8_t>> expected;
  {
    Loader loader(data, options);
    for (int i = 0; i < 6; ++i) expected.push_back(bytes_of(loader.next()));
  }
  EXPECT_NE(expected[0], expected[2]);
  options.threads = 3;
  options.ahead = 4;
  Loader many(data, options), late(data, options, 3);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(bytes_of(many.next()), expected[i]) << i;
  for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(bytes_of(late.next()), expected[i]) << i;
  EXPECT_THROW(Loader(data, {.batch = 5}), Error);
}

TEST_F(LoaderTest, RanksShareABatch) {
  const Dataset data = dataset();
  const AugmentOptions augment{.short_sides = {20, 24, 32}};
  Loader whole(data, {.batch = 8, .seed = 9, .augment = augment});
  LoaderOptions options{.batch = 8, .seed = 9, .augment = augment, .ranks = 2};
  Loader first(data, options);
  options.rank = 1;
  Loader second(data, options, 1);
  options.passes = 2;
  Loader second_of_parts(data, options);
  for (int i = 0; i < 3; ++i) {
    const std::vector<Sample> all = whole.next();
    const auto of = [&](std::size_t begin, std::size_t end) {
      return std::vector<Sample>(all.begin() + static_cast<std::ptrdiff_t>(begin),
                                 all.begin() + static_cast<std::ptrdiff_t>(end));
    };
    EXPECT_EQ(bytes_of(first.next()), bytes_of(of(0, 4))) << i;
    if (i > 0) EXPECT_EQ(bytes_of(second.next()), bytes_of(of(4, 8))) << i;
    std::vector<Sample> parts = of(2, 4);
    for (const Sample& sample : of(6, 8)) parts.push_back(sample);
    EXPECT_EQ(bytes_of(second_of_parts.next()), bytes_of(parts)) << i;
  }
  EXPECT_THROW(Loader(data, {.batch = 6, .ranks = 2}), Error);
}

}  // namespace
}  // namespace usol::train
