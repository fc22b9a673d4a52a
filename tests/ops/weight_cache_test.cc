// What is made of weights: once for all threads, and again when the weights change or another form is wanted.
#include "usol/ops/weight_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace usol {
namespace {

TEST(WeightCache, ThreadsShareOneCopy) {
  WeightCache<int> cache;
  const Tensor weight = Tensor::zeros({4});
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const int found = cache.find_or_make(
          weight, [](int) { return true; },
          [&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the others come meanwhile
            return ++made;
          });
      EXPECT_EQ(found, 1);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
}

TEST(WeightCache, AnotherFormAndChangedWeightsAreMadeAnew) {
  WeightCache<int> cache;
  Tensor weight = Tensor::zeros({4});
  const auto get = [&](int form, int fresh) {
    return cache.find_or_make(
        weight, [&](int made) { return made / 10 == form; }, [&] { return 10 * form + fresh; });
  };
  EXPECT_EQ(get(1, 1), 11);
  EXPECT_EQ(get(2, 2), 22);
  EXPECT_EQ(get(1, 3), 11);
  weight.fill(1);
  EXPECT_EQ(get(1, 4), 14);
  EXPECT_EQ(get(1, 5), 14);
}

}  // namespace
}  // namespace usol
