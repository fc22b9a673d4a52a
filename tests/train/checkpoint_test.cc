// The folder of a training's states: how many stay, and what a killed run leaves.
#include "usol/train/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <vector>

#include "tests/support/temp_dir.h"

namespace usol::train {
namespace {

std::ptrdiff_t files(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator all(folder), end;
  return std::distance(all, end);
}

TEST(CheckpointFolder, KeepsTheLastOnes) {
  const test::TempDir folder;
  const CheckpointFolder three(folder.path(), 3), two(folder.path(), 2);
  EXPECT_FALSE(two.load_newest());
  for (const std::int64_t iteration : {2, 4, 6, 8})
    three.save(iteration, {{"x", Tensor::full({1}, static_cast<double>(iteration), DType::kF32)}}, {{"key", "value"}});
  EXPECT_EQ(files(folder.path()), 3);
  // As a run leaves it that was killed after writing and before removing.
  const auto newest = two.load_newest();
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->tensors.at("x").to_vector<float>(), std::vector<float>{8});
  EXPECT_EQ(newest->metadata.at("key"), "value");
  EXPECT_EQ(files(folder.path()), 2);
}

}  // namespace
}  // namespace usol::train
