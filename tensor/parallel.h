#pragma once
// Threads of the CPU kernels: two functions, behind them threads that help whoever has a loop (parallel.cc).

#include <cstdint>
#include <functional>

namespace usol {

/// Number of threads parallel_for uses at most. Defaults to the CPUs this process may run on
/// (affinity, cgroup quota, OMP_THREAD_LIMIT).
int thread_count();
/// Sets thread_count() for the process; values below 1 restore the default, OMP_THREAD_LIMIT stays a limit.
void set_thread_count(int threads);

/// Calls body(first, last) on disjoint ranges covering [begin, end), each at least `grain` long except the last.
/// Ranges depend only on the arguments and thread_count(); where no other thread is free, and inside a parallel
/// loop, it is one range. An exception thrown by a body is rethrown here (the first one).
void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body);

/// Calls body(i) for every i in [begin, end), handed out one by one: for few, uneven pieces of work.
void parallel_for_each(std::int64_t begin, std::int64_t end, const std::function<void(std::int64_t)>& body);

}  // namespace usol
