// A thread under SerialScope works alone; others are not held.
#include "usol/tensor/serial_scope.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

#include "usol/tensor/parallel.h"

namespace usol {
namespace {

std::set<std::thread::id> threads_used() {
  std::mutex mutex;
  std::set<std::thread::id> used;
  const auto note = [&] {
    const std::lock_guard lock(mutex);
    used.insert(std::this_thread::get_id());
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
    EXPECT_EQ(threads_used(), std::set{std::this_thread::get_id()});
    std::set<std::thread::id> elsewhere;
    std::thread([&] { elsewhere = threads_used(); }).join();
    EXPECT_GT(elsewhere.size(), 1u);
  }
  EXPECT_GT(threads_used().size(), 1u);
  set_thread_count(0);
}

}  // namespace
}  // namespace usol
