// A thread under SerialScope works alone; others are not held.
#include "usol/tensor/serial_scope.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

#include "usol/tensor/parallel.h"

namespace usol {
namespace {

// The threads of two loops, whose pieces wait until `wanted` threads are there (not forever).
std::set<std::thread::id> threads_used(std::size_t wanted) {
  std::mutex mutex;
  std::condition_variable came;
  std::set<std::thread::id> used;
  const auto note = [&] {
    std::unique_lock lock(mutex);
    used.insert(std::this_thread::get_id());
    came.notify_all();
    came.wait_for(lock, std::chrono::seconds(60), [&] { return used.size() >= wanted; });
  };
  parallel_for(0, 4, 1, [&](std::int64_t, std::int64_t) { note(); });
  parallel_for_each(0, 4, [&](std::int64_t) { note(); });
  return used;
}

TEST(SerialScope, KeepsWorkOnItsThread) {
  set_thread_count(4);
  {
    const SerialScope serial;
    { const SerialScope nested; }
    EXPECT_EQ(threads_used(1), std::set{std::this_thread::get_id()});
    std::set<std::thread::id> elsewhere;
    std::thread([&] { elsewhere = threads_used(2); }).join();
    EXPECT_GT(elsewhere.size(), 1u);
  }
  EXPECT_GT(threads_used(2).size(), 1u);
  set_thread_count(0);
}

}  // namespace
}  // namespace usol
