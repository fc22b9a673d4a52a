// The data set and the loader: what is read, in which order, and that threads change nothing.
#include "usol/train/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_ranks.h"
#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/error.h"
#include "usol/train/picture_check.h"
#include "usol/train/skipped_pictures.h"

namespace fs = std::filesystem;

namespace usol::train {
namespace {

// Eight pictures, five of them wide, each with a rectangle or two; one more without objects, one with a crowd alone.
class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    io::CocoWriter writer(folder_ / "truth.json");
    std::int64_t id = 0;
    for (std::int64_t i = 0; i < 10; ++i) {
      const std::int64_t height = i < 5 ? 24 : 40, width = i < 5 ? 40 : 24;
      const std::string name = "picture" + std::to_string(i) + ".png";
      Tensor image = Tensor::full({height, width, 3}, static_cast<double>(20 * i), DType::kU8);
      image.slice(0, 4, 14).slice(1, 5, 15).fill(250);
      io::write_png(folder_ / name, image);
      writer.add_image({100 + i, height, width, name});
      if (i == 8) continue;
      for (std::int64_t k = 0; k <= i % 2; ++k) {
        Tensor mask = Tensor::zeros({height, width}, DType::kU8);
        mask.slice(0, 4, 14).slice(1, 5 + 5 * k, 15).fill(1);
        io::CocoAnnotation annotation;
        annotation.id = ++id;
        annotation.image_id = 100 + i;
        annotation.category_id = k == 0 ? 7 : 3;
        annotation.box = {static_cast<double>(5 + 5 * k), 4, static_cast<double>(10 - 5 * k), 10};
        annotation.is_crowd = i == 9;
        writer.add_annotation(annotation, io::rle_encode(mask));
      }
    }
    const std::vector<io::CocoCategory> categories{{7, "seven", ""}, {3, "three", ""}};
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
  const Sample sample = decoded(data.load(1));
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
  io::write_png(folder_ / "picture4.png", Tensor::zeros({9, 9, 3}, DType::kU8));
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

// Every group: first the strong views, then the weak ones, which are the samples that there are without views.
TEST_F(LoaderTest, StrongViewsStandBeforeTheWeakOnesOfTheirGroup) {
  const Dataset data = dataset();
  LoaderOptions options{.batch = 4, .seed = 9, .augment = {.short_sides = {20, 24, 32}}, .copy_paste = {}};
  Loader once(data, options);
  options.strong_views.emplace();
  Loader twice(data, options);
  int changed = 0;
  for (int i = 0; i < 6; ++i) {
    const std::vector<Sample> weak = once.next(), both = twice.next();
    ASSERT_EQ(both.size(), 8u);
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t group = k / 2, member = k % 2;
      const Sample &strong = both[4 * group + member], &same = both[4 * group + 2 + member];
      EXPECT_EQ(bytes_of({same}), bytes_of({weak[k]}));
      EXPECT_EQ(strong.masks.to_vector<std::uint8_t>(), same.masks.to_vector<std::uint8_t>());
      EXPECT_EQ(strong.image.shape(), same.image.shape());
      changed += strong.image.to_vector<std::uint8_t>() != same.image.to_vector<std::uint8_t>();
    }
  }
  EXPECT_GT(changed, 16);  // of 24: few have nothing done to them
}

TEST_F(LoaderTest, WeakViewsArePastedIntoStrongOnes) {
  const Dataset data = dataset();
  LoaderOptions options{.batch = 4, .seed = 9, .augment = {.short_sides = {20, 24, 32}}};
  options.copy_paste = CopyPasteOptions{.preset = Preset::kRelease, .least_ratio = 1};
  // The same numbers are drawn for both, but the colours of the one stay.
  options.strong_views = StrongViewOptions{.jitter = 1, .grey = 0, .blur = 0, .ranges = {}, .erasings = {}};
  Loader plain(data, options);
  options.strong_views->ranges = StrongViewOptions{}.ranges;
  Loader jittered(data, options);
  options.threads = 3;
  options.ranks = 2;
  Loader first(data, options);
  options.rank = 1;
  Loader second(data, options);
  int pasted = 0, changed = 0;
  for (int i = 0; i < 8; ++i) {
    const std::vector<Sample> all = jittered.next(), untouched = plain.next();
    for (const std::size_t strong : {0, 1, 4, 5}) {
      const auto with_paste = untouched[strong].image.to_vector<std::uint8_t>(),
                 without = untouched[strong + 2].image.to_vector<std::uint8_t>(),
                 other = all[strong].image.to_vector<std::uint8_t>();
      EXPECT_EQ(bytes_of({all[strong + 2]}), bytes_of({untouched[strong + 2]}));
      for (std::size_t at = 0; at < other.size(); ++at) {
        if (with_paste[at] == without[at]) {
          changed += other[at] != without[at];
          continue;
        }
        EXPECT_EQ(other[at], with_paste[at]) << "what is pasted has its own colours";
        ++pasted;
      }
    }
    std::vector<Sample> of_ranks = first.next();
    for (Sample& sample : second.next()) of_ranks.push_back(std::move(sample));
    EXPECT_EQ(bytes_of(of_ranks), bytes_of(all)) << "threads and ranks change nothing";
  }
  EXPECT_GT(pasted, 1000);
  EXPECT_GT(changed, 1000);
}

TEST_F(LoaderTest, BoxesAreThoseAskedFor) {
  const Dataset data = dataset();
  const auto options = [](TruthBoxes boxes) {
    LoaderOptions made{.batch = 2, .copy_paste = {}};
    made.augment.short_sides.assign(1, 24);
    made.augment.flip = 0;
    made.boxes = boxes;
    return made;
  };
  Loader a(data, options(TruthBoxes::kFile)), b(data, options(TruthBoxes::kCorners));
  for (int i = 0; i < 4; ++i) {
    const std::vector<Sample> right = a.next(), release = b.next();
    for (std::size_t k = 0; k < 2; ++k) {
      const auto box = right[k].boxes.to_vector<float>(), wide = release[k].boxes.to_vector<float>();
      ASSERT_EQ(box.size(), wide.size());
      for (std::size_t at = 0; at < box.size(); at += 4) {
        EXPECT_EQ(wide[at], box[at]);
        EXPECT_EQ(wide[at + 2], std::min(box[at] + box[at + 2], static_cast<float>(right[k].width())));
        EXPECT_EQ(wide[at + 3], std::min(box[at + 1] + box[at + 3], static_cast<float>(right[k].height())));
      }
    }
  }
}

// The numbers for objects' looks: rows go with their objects through scales, flips, views and pastes.
TEST_F(LoaderTest, EmbeddingsGoWithTheirObjects) {
  const std::string text = test::read_text(folder_ / "truth.json");
  EXPECT_FALSE(Dataset(folder_ / "truth.json", folder_.path(), {}, Learned::kMasks, 2).load(1).embeddings.defined());
  const auto with_numbers = [&](const std::string& of_three) {
    std::string result = text;
    for (const auto& [id, numbers] : {std::pair<std::string, std::string>{"7", "[7, 1]"}, {"3", of_three}})
      for (std::size_t at = 0; (at = result.find("\"category_id\": " + id + ",", at)) != std::string::npos; at += 20)
        result.insert(at, "\"emb\": " + numbers + ", ");
    test::write_text(folder_ / "numbers.json", result);
    return folder_ / "numbers.json";
  };
  with_numbers("null");
  const Dataset data(folder_ / "numbers.json", folder_.path(), {}, Learned::kMasks, 2);
  EXPECT_EQ(data.embedding(), 2);
  EXPECT_EQ(decoded(data.load(1)).embeddings.to_vector<float>(), (std::vector<float>{7, 1, 0, 0}));
  EXPECT_FALSE(Dataset(folder_ / "numbers.json", folder_.path()).load(1).embeddings.defined());
  Loader loader(data, {.batch = 4,
                       .augment = {.short_sides = {20, 24}},
                       .copy_paste = CopyPasteOptions{.any_number = true},
                       .strong_views = StrongViewOptions{}});
  std::int64_t objects = 0;
  for (int b = 0; b < 6; ++b)
    for (const Sample& sample : loader.next()) {
      ASSERT_EQ(sample.embeddings.shape(), (Shape{sample.size(), 2}));
      const auto rows = sample.embeddings.to_vector<float>();
      objects += sample.size();
      for (std::size_t i = 0; i < sample.classes.size(); ++i)
        EXPECT_EQ(rows[2 * i], sample.classes[i] == 1 ? 7 : 0) << b << ' ' << i;
    }
  EXPECT_GT(objects, 48);
  try {
    Dataset(with_numbers("[1]"), folder_.path(), {}, Learned::kMasks, 2);
    ADD_FAILURE() << "a row of another length was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    EXPECT_NE(std::string(error.what()).find("annotations[2].emb: expected 2 numbers"), std::string::npos)
        << error.what();
  }
}

// Which picture of LoaderTest a sample without copy-paste is of: their backgrounds differ.
std::int64_t picture_of(const Sample& sample) { return sample.image.to_vector<std::uint8_t>()[0] / 20; }

TEST_F(LoaderTest, WhatTakesThePlaceOfAnUnreadablePictureDependsOnItsPlaceAlone) {
  LoaderOptions options{.batch = 8, .seed = 9, .augment = {.short_sides = {24}}, .copy_paste = {}, .threads = 1};
  constexpr std::size_t kBatches = 8;
  std::vector<std::vector<Sample>> whole, damaged;
  const Dataset data = dataset();
  {
    Loader loader(data, options);
    for (std::size_t i = 0; i < kBatches; ++i) whole.push_back(loader.next());
    EXPECT_TRUE(loader.take_skipped().empty());
  }
  fs::remove(folder_ / "picture1.png");
  fs::resize_file(folder_ / "picture6.png", fs::file_size(folder_ / "picture6.png") / 2);
  std::set<std::int64_t> skipped;
  {
    Loader loader(data, options);
    for (std::size_t i = 0; i < kBatches; ++i) damaged.push_back(loader.next());
    for (const SkippedPicture& picture : loader.take_skipped()) {
      skipped.insert(picture.index);
      EXPECT_NE(picture.why.find(picture.index == 1 ? "picture1.png" : "picture6.png"), std::string::npos);
    }
    EXPECT_TRUE(loader.take_skipped().empty());
  }
  EXPECT_EQ(skipped, (std::set<std::int64_t>{1, 6}));
  std::set<std::int64_t> others;
  for (std::size_t b = 0; b < kBatches; ++b)
    for (std::size_t i = 0; i < 8; ++i) {
      const Sample &was = whole[b][i], &is = damaged[b][i];
      const std::int64_t before = picture_of(was), after = picture_of(is);
      if (before != 1 && before != 6) {
        EXPECT_EQ(bytes_of({was}), bytes_of({is})) << b << " " << i;
        continue;
      }
      EXPECT_TRUE(after != 1 && after != 6) << after;
      EXPECT_EQ(after < 5, before < 5) << "another shape";
      others.insert(after);
    }
  EXPECT_GT(others.size(), 2u);  // not always the same one

  // Threads, ranks and the batch that is begun with change nothing.
  options.threads = 3;
  options.ahead = 4;
  Loader many(data, options), late(data, options, 3);
  options.ranks = 2;
  Loader first(data, options);
  options.rank = 1;
  Loader second(data, options);
  for (std::size_t b = 0; b < kBatches; ++b) {
    EXPECT_EQ(bytes_of(many.next()), bytes_of(damaged[b])) << b;
    if (b >= 3) EXPECT_EQ(bytes_of(late.next()), bytes_of(damaged[b])) << b;
    std::vector<Sample> of_ranks = first.next();
    for (Sample& sample : second.next()) of_ranks.push_back(std::move(sample));
    EXPECT_EQ(bytes_of(of_ranks), bytes_of(damaged[b])) << b;
  }

  // None is left of one shape.
  for (const int i : {5, 7, 9}) fs::remove(folder_ / ("picture" + std::to_string(i) + ".png"));
  Loader none(data, options);
  EXPECT_THROW(for (int i = 0; i < 8; ++i) none.next(), UnreadablePicture);
}

// A JPEG whose EXIF block says that it is turned by a quarter.
void write_turned(const fs::path& path, std::int64_t height, std::int64_t width) {
  const std::vector<std::byte> jpeg = io::encode_jpeg(Tensor::full({height, width, 3}, 90, DType::kU8));
  const std::string_view exif(
      "\xff\xe1\x00\x22"
      "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
      36);
  std::string text(reinterpret_cast<const char*>(jpeg.data()), jpeg.size());
  text.insert(2, exif);
  test::write_text(path, text);
}

TEST_F(LoaderTest, ObjectsWithoutAMaskLeftAreLeftOut) {
  std::string text = test::read_text(folder_ / "truth.json");
  // The mask of the first annotation becomes a polygon of two points, that of the second one gets such a part beside
  // it.
  const auto replace_mask = [&](const std::string& id, const std::string& mask) {
    const std::size_t record = text.find("\"id\": " + id + ",");
    const std::size_t begin = text.find("\"segmentation\": ", record) + 16, end = text.find('}', begin) + 1;
    text.replace(begin, end - begin, mask);
  };
  replace_mask("1", "[[5,4,15,14]]");
  replace_mask("2", "[[5,4,15,14],[5,4,15,4,15,14,5,14]]");
  test::write_text(folder_ / "truth.json", text);
  const Dataset data = dataset();
  EXPECT_EQ(data.annotations().report.count(io::ReadingKind::kMaskLost), 1);
  EXPECT_EQ(data.annotations().report.count(io::ReadingKind::kShortPolygon), 2);
  EXPECT_EQ(data.size(), 7);  // the first picture had one object
  EXPECT_EQ(data.objects(), 11);
  EXPECT_EQ(data.image(0).id, 101);
  EXPECT_EQ(io::rle_area(data.load(0).masks[0]), 100);
}

TEST_F(LoaderTest, HeadersShowMissingDamagedAndTurnedPictures) {
  const Dataset data = dataset();
  const PictureReport good = data.check_pictures();
  EXPECT_EQ(good.pictures, 8);
  EXPECT_TRUE(good.unreadable.empty() && good.mismatched.empty());
  fs::remove(folder_ / "picture0.png");
  fs::resize_file(folder_ / "picture2.png", 12);
  io::write_png(folder_ / "picture3.png", Tensor::zeros({40, 24, 3}, DType::kU8));
  write_turned(folder_ / "picture4.png", 24, 40);
  io::write_png(folder_ / "picture6.png", Tensor::zeros({9, 7, 3}, DType::kU8));
  const PictureReport report = data.check_pictures();
  ASSERT_EQ(report.unreadable.size(), 2u);
  EXPECT_EQ(report.unreadable[0].index, 0);
  EXPECT_EQ(report.unreadable[1].index, 2);
  EXPECT_NE(report.unreadable[1].why.find("picture2.png"), std::string::npos) << report.unreadable[1].why;
  ASSERT_EQ(report.mismatched.size(), 3u);
  EXPECT_FALSE(report.mismatched[0].fits_with_other_exif);
  EXPECT_NE(to_string(report.mismatched[0]).find("height and width are exchanged"), std::string::npos);
  EXPECT_TRUE(report.mismatched[1].fits_with_other_exif);
  EXPECT_NE(to_string(report.mismatched[1]).find("EXIF"), std::string::npos) << to_string(report.mismatched[1]);
  EXPECT_EQ(report.mismatched[2].got, (Size{9, 7}));
  EXPECT_NE(to_string(report.mismatched[2]).find("picture6.png: 9 x 7 pixels"), std::string::npos);
  EXPECT_EQ(Dataset(folder_ / "truth.json", folder_.path(), {.apply_exif = false}).check_pictures().mismatched.size(),
            2u);
}

TEST(CheckPictures, GoesThroughAllOfThem) {
  const test::TempDir folder;
  io::write_png(folder / "p.png", Tensor::zeros({2, 3, 3}, DType::kU8));
  const auto picture = [&](std::int64_t i) -> ExpectedPicture {
    return {i % 100 == 7 ? folder / "gone.png" : folder / "p.png", {2, i % 100 == 3 ? 4 : 3}};
  };
  const PictureReport report = check_pictures(1010, picture, {});
  EXPECT_EQ(report.pictures, 1010);
  ASSERT_EQ(report.unreadable.size(), 11u);
  ASSERT_EQ(report.mismatched.size(), 11u);
  for (std::int64_t i = 0; i < 11; ++i) {
    EXPECT_EQ(report.unreadable[static_cast<std::size_t>(i)].index, 100 * i + 7);
    EXPECT_EQ(report.mismatched[static_cast<std::size_t>(i)].index, 100 * i + 3);
  }
  EXPECT_LT(check_pictures(1010, picture, {}, [] { return true; }).pictures, 1010);
}

TEST_F(LoaderTest, SkippedPicturesAreCountedOverRanksAndInterruptions) {
  const Dataset data = dataset();
  fs::remove(folder_ / "picture1.png");
  fs::remove(folder_ / "picture5.png");
  std::string state;
  const auto why = [&](std::int64_t index) { return data.why_unreadable(index); };
  test::ThreadRanks::run(2, [&](auto& rank) {
    SkippedPictures skipped(data.size(), why, 0.25, &rank);
    EXPECT_TRUE(skipped.add({}).empty());
    const std::vector<SkippedPicture> met{{5, "picture5.png: first"}, {5, "picture5.png: again"}};
    const auto added = skipped.add(rank.rank() == 0 ? met : std::vector<SkippedPicture>{{1, "picture1.png: gone"}});
    ASSERT_EQ(added.size(), 2u);
    EXPECT_EQ(added[0].index, 1);
    EXPECT_EQ(added[1].index, 5);
    EXPECT_NE(added[0].why.find("picture1.png"), std::string::npos);
    EXPECT_TRUE(skipped.add(met).empty());
    EXPECT_EQ(skipped.size(), 2);
    if (rank.rank() == 0) state = skipped.state();
    // The third of eight is too many, and all ranks know it.
    EXPECT_THROW(skipped.add(rank.rank() == 1 ? std::vector<SkippedPicture>{{2, "x"}} : std::vector<SkippedPicture>{}),
                 TooManySkipped);
  });
  SkippedPictures later(data.size(), why, 0.25);
  later.load_state(state);
  EXPECT_EQ(later.size(), 2);
  EXPECT_EQ(later.state(), state);
  EXPECT_NE(later.text().find("picture5.png: first\n"), std::string::npos) << later.text();
  try {
    later.add({{3, "picture3.png: gone"}});
    FAIL();
  } catch (const TooManySkipped& error) {
    EXPECT_NE(std::string(error.what()).find("3 of 8 pictures"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("picture3.png: gone"), std::string::npos) << error.what();
  }
  EXPECT_THROW(later.load_state("{"), Error);
}

}  // namespace
}  // namespace usol::train
