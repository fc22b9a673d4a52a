// Stages of several threads: order, bounds, errors, and leaving early.
#include "usol/pipeline/ordered_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>

namespace usol {
namespace {

std::function<std::optional<int>()> numbers(int count) {
  return [count, next = 0]() mutable -> std::optional<int> {
    if (next == count) return std::nullopt;
    return next++;
  };
}

TEST(OrderedMap, ResultsComeInTheOrderOfItems) {
  for (const int threads : {1, 2, 7}) {
    std::atomic<int> at_work = 0, most = 0;
    OrderedMap<int, int> squares(
        numbers(200),
        [&](int i) {
          most = std::max(most.load(), ++at_work);
          if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
          --at_work;
          return i * i;
        },
        threads, 5);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(squares.next(), i * i);
    EXPECT_EQ(squares.next(), std::nullopt);
    EXPECT_EQ(squares.next(), std::nullopt);
    EXPECT_LE(most, threads);
  }
}

TEST(OrderedMap, NoMoreItemsThanItsDepthAreUnderway) {
  std::atomic<int> taken = 0;
  int next = 0;
  OrderedMap<int, int> map([&]() -> std::optional<int> { return next < 100 ? std::optional(next++) : std::nullopt; },
                           [&](int i) {
                             ++taken;
                             return i;
                           },
                           3, 4);
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(taken, i + 4);
    ASSERT_EQ(map.next(), i);
  }
}

TEST(OrderedMap, StagesAreChained) {
  OrderedMap<int, int> first(
      numbers(50), [](int i) { return i + 1; }, 3, 4);
  OrderedMap<int, int> second([&] { return first.next(); }, [](int i) { return 2 * i; }, 2, 3);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(second.next(), 2 * (i + 1));
  EXPECT_EQ(second.next(), std::nullopt);
}

TEST(OrderedMap, ErrorsReachTheCaller) {
  OrderedMap<int, int> work(
      numbers(9), [](int i) { return i < 5 ? i : throw std::runtime_error("five"); }, 2, 3);
  EXPECT_THROW(
      {
        while (work.next()) {
        }
      },
      std::runtime_error);
  OrderedMap<int, int> source([]() -> std::optional<int> { throw std::runtime_error("no source"); },
                              [](int i) { return i; }, 2, 3);
  EXPECT_THROW(source.next(), std::runtime_error);
}

TEST(OrderedMap, CanBeLeftEarly) {
  std::atomic<int> made = 0;
  {
    OrderedMap<int, int> map(
        numbers(1000), [&](int i) { return ++made, i; }, 4, 8);
    EXPECT_EQ(map.next(), 0);
  }
  EXPECT_LT(made, 30);
}

}  // namespace
}  // namespace usol
