#include "usol/tensor/openmp_wait.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "usol/tensor/parallel.h"

namespace usol {

// libgomp reads its settings from the environment before any code of the program runs, and has no function for them.
// But it looks only shortly where it has more threads than the process has processors. So a thread keeps a team of its
// own, large enough for that and asleep until the process ends.
void let_openmp_sleep() {
  static const bool done = [] {
    if (thread_count() == 1 || std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return true;
    std::promise<void> ready;
    std::thread([&ready] {
      const int team = std::max(2, omp_get_num_procs() - thread_count() + 2);
      std::atomic<int> members{0};  // a region that does nothing would be left out by the compiler
#pragma omp parallel num_threads(team)
      ++members;
      ready.set_value();
      for (;;) std::this_thread::sleep_for(std::chrono::hours(24));
    }).detach();
    ready.get_future().wait();
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace usol
