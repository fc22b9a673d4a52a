// Threads of OpenMP that wait sleep: their processor time says so.
#include "usol/tensor/openmp_wait.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>

#include "usol/tensor/parallel.h"

namespace usol {
namespace {

// Processor time over wall time of a process that waits, after each of a few loops of OpenMP.
double busy_share() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const std::clock_t processor = std::clock();
  std::atomic<int> members{0};  // a region that does nothing would be left out by the compiler
  for (int i = 0; i < 50; ++i) {
#pragma omp parallel num_threads(2)
    ++members;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const std::chrono::duration<double> wall = Clock::now() - start;
  EXPECT_GE(members, 50);
  return static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC / wall.count();
}

TEST(OpenmpWait, ThreadsSleep) {
  if (omp_get_num_procs() < 2) GTEST_SKIP() << "one processor: libgomp never waits long";
  set_thread_count(2);
  let_openmp_sleep();
  let_openmp_sleep();
  EXPECT_LT(busy_share(), 0.4);  // 0.9 and more without it
  set_thread_count(0);
}

}  // namespace
}  // namespace usol
