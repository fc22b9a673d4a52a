// Batches of crops: the same for any number of threads and ranks, from any step on, whatever cannot be read.
#include "usol/pipeline/crop_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

// Seven pictures of one grey each, 10 to 70.
class CropLoaderTest : public testing::Test {
 protected:
  CropLoaderTest() {
    for (int i = 1; i <= 7; ++i)
      io::write_png(folder_ / (std::to_string(i) + ".png"), Tensor::full({20, 24, 3}, 10 * i, DType::kU8));
    InputOptions options;
    options.inputs = {folder_.path().string()};
    inputs_ = options.collect();
  }
  CropLoaderOptions options() const {
    CropLoaderOptions o{.batch = 3, .seed = 5, .threads = 3, .hidden_grid = 4};
    o.crops = {.global_px = 16, .local_px = 8, .locals = 2, .jitter = 0, .grey = 0, .solarize = 0};
    return o;
  }
  // Which pictures, by their grey.
  static std::vector<int> pictures(const train::CropBatch& batch) {
    std::vector<int> result;
    for (std::int64_t i = 0; i < batch.globals.size(0); ++i) {
      const float first = batch.globals.select(0, i).contiguous().to_vector<float>()[0];
      result.push_back(static_cast<int>((static_cast<double>(first) * 0.229 + 0.485) * 255 / 10 + 0.5));
    }
    return result;
  }
  static std::vector<float> values(const Tensor& t) { return t.to_vector<float>(); }

  test::TempDir folder_;
  InputList inputs_;
};

TEST_F(CropLoaderTest, AnEpochHasEachPictureAtMostOnceInAnotherOrder) {
  EXPECT_EQ(steps_per_epoch(7, 3), 2);
  CropLoader loader(inputs_, {}, options());
  std::set<std::vector<int>> orders;
  for (int epoch = 0; epoch < 4; ++epoch) {
    std::vector<int> order = pictures(loader.next());
    for (const int picture : pictures(loader.next())) order.push_back(picture);
    EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 6U) << "epoch " << epoch;
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4U);
}

TEST_F(CropLoaderTest, ThreadsAndTheStartChangeNothing) {
  CropLoaderOptions one = options();
  one.threads = 1;
  CropLoader first(inputs_, {}, options()), second(inputs_, {}, one), late(inputs_, {}, options(), 3);
  for (int step = 0; step < 5; ++step) {
    const train::CropBatch a = first.next(), b = second.next();
    EXPECT_EQ(a.globals.shape(), Shape({3, 2, 3, 16, 16}));
    EXPECT_EQ(a.locals.shape(), Shape({3, 2, 3, 8, 8}));
    EXPECT_EQ(values(a.globals), values(b.globals)) << step;
    EXPECT_EQ(values(a.locals), values(b.locals)) << step;
    EXPECT_EQ(a.hidden.to_vector<std::uint8_t>(), b.hidden.to_vector<std::uint8_t>()) << step;
    if (step >= 3) EXPECT_EQ(values(a.locals), values(late.next().locals)) << step;
  }
}

TEST_F(CropLoaderTest, RanksShareABatch) {
  CropLoader whole(inputs_, {}, options());
  std::vector<std::unique_ptr<CropLoader>> ranks;
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    CropLoaderOptions o = options();
    o.rank = rank;
    o.ranks = 3;
    ranks.push_back(std::make_unique<CropLoader>(inputs_, io::DecodeOptions{}, o));
  }
  for (int step = 0; step < 3; ++step) {
    const train::CropBatch batch = whole.next();
    for (std::int64_t rank = 0; rank < 3; ++rank)
      EXPECT_EQ(values(ranks[static_cast<std::size_t>(rank)]->next().globals),
                values(batch.globals.slice(0, rank, rank + 1).contiguous()));
  }
}

TEST_F(CropLoaderTest, AnotherPictureTakesThePlaceOfOneThatCannotBeRead) {
  test::write_text(folder_ / "3.png", "no picture");
  CropLoader loader(inputs_, {}, options()), again(inputs_, {}, options());
  std::set<std::int64_t> skipped;
  for (int step = 0; step < 6; ++step) {
    const train::CropBatch batch = loader.next();
    EXPECT_EQ(values(batch.globals), values(again.next().globals));
    for (const int picture : pictures(batch)) EXPECT_NE(picture, 3);
    for (const auto& [index, why] : loader.take_skipped()) {
      skipped.insert(index);
      EXPECT_NE(why.find("3.png"), std::string::npos) << why;
    }
  }
  EXPECT_EQ(skipped, std::set<std::int64_t>{2});
}

TEST_F(CropLoaderTest, BatchesThatCannotBeAreRefused) {
  CropLoaderOptions o = options();
  o.batch = 8;
  EXPECT_THROW(CropLoader(inputs_, {}, o), Error);
  o.batch = 4;
  o.ranks = 3;
  EXPECT_THROW(CropLoader(inputs_, {}, o), Error);
}

}  // namespace
}  // namespace usol
