#include "usol/tensor/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>

#include "usol/tensor/serial_scope.h"

namespace usol {
namespace {

thread_local int serial_scopes = 0;

// Limit set by a container: cgroup v2's cpu.max is "quota period" or "max period".
int cgroup_cpus() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(std::ceil(std::atof(quota.c_str()) / period)));
}

int default_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int affinity = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min({affinity, cgroup_cpus(), omp_get_thread_limit()}));
}

std::atomic<int>& threads() {
  static std::atomic<int> count{default_threads()};
  return count;
}

// Exceptions must not leave an OpenMP region: keep the first and rethrow it afterwards.
class FirstException {
 public:
  template <class F>
  void guard(F&& f) noexcept {
    try {
      f();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!first_) first_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
};

}  // namespace

int thread_count() { return threads().load(std::memory_order_relaxed); }

void set_thread_count(int count) {
  // Above OMP_THREAD_LIMIT oneDNN would wait for shares of the work that no thread does: wrong results.
  threads() = count < 1 ? default_threads() : std::min(count, omp_get_thread_limit());
  omp_set_num_threads(thread_count());  // oneDNN and Eigen take their thread number from OpenMP
}

void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t count = end - begin;
  if (count <= 0) return;
  const std::int64_t pieces = std::min<std::int64_t>(
      thread_count(), (count + std::max<std::int64_t>(grain, 1) - 1) / std::max<std::int64_t>(grain, 1));
  if (pieces <= 1 || serial_scopes > 0 || omp_in_parallel()) return body(begin, end);
  FirstException first;
#pragma omp parallel for num_threads(static_cast <int>(pieces)) schedule(static, 1)
  for (std::int64_t p = 0; p < pieces; ++p)
    first.guard([&] { body(begin + count * p / pieces, begin + count * (p + 1) / pieces); });
  first.rethrow();
}

void parallel_for_each(std::int64_t begin, std::int64_t end, const std::function<void(std::int64_t)>& body) {
  if (end - begin <= 1 || thread_count() == 1 || serial_scopes > 0 || omp_in_parallel()) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
    return;
  }
  FirstException first;
#pragma omp parallel for num_threads(thread_count()) schedule(dynamic, 1)
  for (std::int64_t i = begin; i < end; ++i) first.guard([&] { body(i); });
  first.rethrow();
}

// The number of threads for OpenMP, which oneDNN and Eigen take, is the calling thread's own.
SerialScope::SerialScope() : previous_(omp_get_max_threads()) {
  ++serial_scopes;
  omp_set_num_threads(1);
}
SerialScope::~SerialScope() {
  omp_set_num_threads(previous_);
  --serial_scopes;
}

}  // namespace usol
