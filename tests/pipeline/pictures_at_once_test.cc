// How many pictures at once: by size, threads and memory; and the gate that they go through.
#include "usol/pipeline/pictures_at_once.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {
namespace {

constexpr double kMuch = 1e12;
const PictureCost kSmall{.flops = 4e10, .bytes = 1e8}, kLarge{.flops = 1e12, .bytes = 2e8};

std::pair<int, int> plan(const PictureCost& cost, std::int64_t pictures, int threads, double memory = kMuch) {
  const AtOnce at_once = pictures_at_once(cost, pictures, threads, memory);
  return {at_once.pictures, at_once.threads};
}

TEST(PicturesAtOnce, SmallOnesGetAThreadEachAndLargeOnesMany) {
  EXPECT_EQ(plan(kSmall, 24, 1), std::pair(1, 1));
  EXPECT_EQ(plan(kSmall, 24, 2), std::pair(2, 1));
  EXPECT_EQ(plan(kSmall, 1000, 64), std::pair(64, 1));
  EXPECT_EQ(plan(kLarge, 24, 2), std::pair(1, 2));
  EXPECT_EQ(plan(kLarge, 24, 16), std::pair(1, 16));
  EXPECT_EQ(plan(kLarge, 1000, 64), std::pair(6, 10));
  EXPECT_EQ(plan({.flops = 2.5e11}, 1000, 16), std::pair(8, 2));
}

TEST(PicturesAtOnce, FewPicturesShareAllThreads) {
  EXPECT_EQ(plan(kSmall, 1, 16), std::pair(1, 16));
  EXPECT_EQ(plan(kSmall, 5, 16), std::pair(5, 3));
  EXPECT_EQ(plan(kSmall, 0, 16), std::pair(1, 16));
  const AtOnce at_once = pictures_at_once(kSmall, 24, 16, kMuch);
  EXPECT_EQ(at_once.threads_of(0, 24), 1);
  EXPECT_EQ(at_once.threads_of(15, 24), 1);
  EXPECT_EQ(at_once.threads_of(16, 24), 2) << "the last eight";
  EXPECT_EQ(at_once.threads_of(23, 24), 2);
  EXPECT_EQ(at_once.threads_of(31, 32), 1);
  EXPECT_EQ(at_once.threads_of(32, 33), 16);
}

TEST(PicturesAtOnce, AreNoMoreThanTheMemoryHolds) {
  EXPECT_EQ(plan(kSmall, 1000, 64, 1e9), std::pair(10, 6));
  EXPECT_EQ(plan(kSmall, 1000, 64, 1e7), std::pair(1, 64)) << "always one";
  EXPECT_GT(memory_for_pictures(), 1e6);
}

TEST(MemoryGate, HoldsPicturesWhileTensorsTakeTooMuch) {
  const Tensor before = Tensor::zeros({1 << 20});  // what is there already does not count
  MemoryGate gate(1e6);
  gate.enter();
  gate.enter();
  Tensor taken = Tensor::zeros({1 << 20});  // 4 MB
  std::atomic<bool> entered = false;
  std::thread third([&] {
    gate.enter();
    entered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(entered);
  taken = {};
  gate.leave();
  third.join();
  taken = Tensor::zeros({1 << 20});
  gate.leave();
  gate.leave();
  gate.enter();  // none is inside: one may always begin
}

}  // namespace
}  // namespace usol
