// The folder of a training's states: how many stay, and what a killed run leaves.
#include "usol/train/checkpoint.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

std::ptrdiff_t files(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator all(folder), end;
  return std::distance(all, end);
}

TEST(CheckpointFolder, KeepsTheLastOnes) {
  const test::TempDir folder;
  const CheckpointFolder three(folder.path(), 3), two(folder.path(), 2);
  EXPECT_FALSE(two.load_newest().state);
  for (const std::int64_t iteration : {2, 4, 6, 8})
    three.save(iteration, {{"x", Tensor::full({1}, static_cast<double>(iteration), DType::kF32)}}, {{"key", "value"}});
  EXPECT_EQ(files(folder.path()), 3);
  // As a run leaves it that was killed after writing and before removing.
  const auto newest = two.load_newest().state;
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->tensors.at("x").to_vector<float>(), std::vector<float>{8});
  EXPECT_EQ(newest->metadata.at("key"), "value");
  EXPECT_EQ(files(folder.path()), 2);
}

float value_of(const SavedState& state) { return state.tensors.at("x").to_vector<float>().front(); }

class DamagedCheckpoint : public testing::Test {
 protected:
  DamagedCheckpoint() {
    for (const std::int64_t iteration : {2, 4, 6}) save(iteration);
  }
  void save(std::int64_t iteration) const {
    checkpoints_.save(iteration,
                      {{"x", Tensor::full({100}, static_cast<double>(iteration), DType::kF32)},
                       {"y", Tensor::from<std::int64_t>({iteration}, {1})}},
                      {{"key", "value"}});
  }
  std::string file(std::int64_t iteration) const {
    return (folder_ / fmt::format("checkpoint_{:07}.safetensors", iteration)).string();
  }

  test::TempDir folder_;
  CheckpointFolder checkpoints_{folder_.path(), 3};
};

// Every byte of the file is covered but for those that a JSON parser passes over.
TEST_F(DamagedCheckpoint, AFlippedBitIsFoundAndTheOlderOneTaken) {
  const std::string whole = test::read_text(file(6));
  const std::size_t key = whole.find("checksum");
  for (std::size_t at = 0; at < whole.size(); at += 3) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    if (at >= key && at < key + 8) continue;               // a file without a checksum
    if (flipped[at] == ' ' || whole[at] == ' ') continue;  // the padding of the header
    test::write_text(file(6), flipped);
    const NewestState newest = checkpoints_.load_newest();
    ASSERT_TRUE(newest.state);
    ASSERT_EQ(newest.damaged.size(), 1u) << at;
    EXPECT_NE(newest.damaged.front().find(file(6)), std::string::npos) << newest.damaged.front();
    EXPECT_EQ(value_of(*newest.state), 4);
    EXPECT_EQ(newest.state->metadata, (std::map<std::string, std::string>{{"key", "value"}}));
  }
}

TEST_F(DamagedCheckpoint, OneThatIsCutShortIsNamed) {
  for (const std::uintmax_t size : {0, 7, 200, 500}) {
    save(6);
    std::filesystem::resize_file(file(6), size);
    const NewestState newest = checkpoints_.load_newest();
    ASSERT_EQ(newest.damaged.size(), 1u) << size;
    EXPECT_NE(newest.damaged.front().find(file(6)), std::string::npos) << newest.damaged.front();
    EXPECT_EQ(value_of(*newest.state), 4);
    EXPECT_EQ(files(folder_.path()), 3);  // nothing is removed while something is wrong
  }
}

TEST_F(DamagedCheckpoint, DoesNotCrowdOutTheOnesAfterIt) {
  std::filesystem::resize_file(file(6), 100);
  const CheckpointFolder one(folder_.path(), 1);
  one.save(5, {{"x", Tensor::full({1}, 5)}}, {});
  EXPECT_EQ(files(folder_.path()), 1);
  EXPECT_EQ(value_of(*one.load_newest().state), 5);
}

TEST_F(DamagedCheckpoint, AnErrorListsThemIfNoneIsLeft) {
  for (const std::int64_t iteration : {2, 4, 6}) std::filesystem::resize_file(file(iteration), 100);
  try {
    checkpoints_.load_newest();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    for (const std::int64_t iteration : {2, 4, 6})
      EXPECT_NE(std::string(error.what()).find(file(iteration)), std::string::npos) << error.what();
  }
}

TEST_F(DamagedCheckpoint, FilesWithoutAChecksumAreReadAsTheyAre) {
  io::save_safetensors(file(8), {{"x", Tensor::full({1}, 8)}});
  EXPECT_EQ(value_of(*checkpoints_.load_newest().state), 8);
}

}  // namespace
}  // namespace usol::train
