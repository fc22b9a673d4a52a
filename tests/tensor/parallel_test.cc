// Loops on several threads: each piece once, helpers that help, errors, many callers, and shares of the threads.
#include "usol/tensor/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "usol/tensor/serial_scope.h"
#include "usol/tensor/thread_share.h"

namespace usol {
namespace {

class ParallelTest : public testing::Test {
 protected:
  ParallelTest() { set_thread_count(4); }
  ~ParallelTest() override { set_thread_count(0); }

  // Ranges of a loop over [0, 100) in the order of their begins.
  static std::vector<std::pair<std::int64_t, std::int64_t>> ranges() {
    std::mutex mutex;
    std::vector<std::pair<std::int64_t, std::int64_t>> found;
    parallel_for(0, 100, 10, [&](std::int64_t begin, std::int64_t end) {
      const std::lock_guard lock(mutex);
      found.emplace_back(begin, end);
    });
    std::sort(found.begin(), found.end());
    return found;
  }
};

// Holds each thread that comes until `count` have come.
class Meeting {
 public:
  explicit Meeting(int count) : count_(count) {}
  // False if the others did not come.
  bool wait() {
    std::unique_lock lock(mutex_);
    ++here_;
    changed_.notify_all();
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return here_ >= count_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_, here_ = 0;
};

TEST_F(ParallelTest, RangesCoverTheLoopOnce) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> expected{{0, 25}, {25, 50}, {50, 75}, {75, 100}};
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(ranges(), expected);
  std::vector<std::atomic<int>> times(1000);
  for (int i = 0; i < 100; ++i)
    parallel_for_each(0, 1000, [&](std::int64_t k) { ++times[static_cast<std::size_t>(k)]; });
  for (const auto& t : times) ASSERT_EQ(t, 100);
}

TEST_F(ParallelTest, HelpersComeAtTheSameTime) {
  Meeting all(4);
  parallel_for(0, 4, 1, [&](std::int64_t, std::int64_t) { EXPECT_TRUE(all.wait()); });
  Meeting two(2);
  parallel_for_each(0, 2, [&](std::int64_t) { EXPECT_TRUE(two.wait()); });
}

TEST_F(ParallelTest, TheFirstErrorComesOutAndTheRestIsDone) {
  std::atomic<int> done = 0;
  const auto fails = [&](std::int64_t i) {
    if (i == 3) throw std::runtime_error("three");
    ++done;
  };
  for (int i = 0; i < 200; ++i) EXPECT_THROW(parallel_for_each(0, 8, fails), std::runtime_error);
  EXPECT_EQ(done, 200 * 7);
}

TEST_F(ParallelTest, LoopsInLoopsAndTheirLibrariesStayOnTheirThread) {
  const int before = library_threads();
  parallel_for_each(0, 4, [&](std::int64_t) {
    const auto self = std::this_thread::get_id();
    EXPECT_EQ(library_threads(), 1);
    parallel_for_each(0, 4, [&](std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), self); });
    EXPECT_EQ(ranges().size(), 1u);
  });
  EXPECT_EQ(library_threads(), before);
}

TEST_F(ParallelTest, ManyCallersShareTheHelpers) {
  std::atomic<std::int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 8; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) parallel_for_each(0, 10, [&](std::int64_t k) { sum += k; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 8 * 500 * 45);
}

TEST_F(ParallelTest, SharesTakeThreadsFromOthers) {
  const int before = library_threads();
  {
    const ThreadShare own(1);
    EXPECT_EQ(library_threads(), 1);
    EXPECT_EQ(ranges().size(), 4u) << "nobody else holds threads";
    Meeting held(2), done(2);
    std::thread other([&] {
      const ThreadShare rest(3);
      EXPECT_EQ(library_threads(), 3);
      EXPECT_EQ(ranges().size(), 4u) << "its own three threads";
      held.wait();
      done.wait();
    });
    held.wait();
    EXPECT_EQ(ranges().size(), 1u) << "the other three are taken";
    done.wait();
    other.join();
    EXPECT_EQ(ranges().size(), 4u);
  }
  EXPECT_EQ(library_threads(), before);
}

}  // namespace
}  // namespace usol
