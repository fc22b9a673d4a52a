// Loops on several threads. A loop is cut into pieces, which its caller and helpers take one by one. The caller begins
// at once and waits only for pieces that a helper has begun, so a helper that another process keeps from its core costs
// time only while it has one. Whoever waits spins for some microseconds and then sleeps.
//
// OpenMP is left to the libraries: oneDNN and Eigen take as many of its threads as the calling thread's own number
// says, and one where that thread works on a piece of a loop.
#include "usol/tensor/parallel.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "usol/tensor/serial_scope.h"
#include "usol/tensor/thread_share.h"

namespace usol {
namespace {

constexpr int kSpins = 400;  // looks before sleeping: 5 to 20 microseconds

thread_local int serial_scopes = 0;    // and pieces of loops that this thread is in
thread_local int held_threads = 0;     // by this thread's ThreadShare
std::atomic<int> all_held_threads{0};  // by those of all threads

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

// The threads that a loop of the calling thread may use, itself included.
int free_threads() {
  if (serial_scopes > 0 || omp_in_parallel()) return 1;
  return std::max(1, thread_count() - (all_held_threads.load(std::memory_order_relaxed) - held_threads));
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True if `done()` became true within the spins.
template <class Done>
bool spin_until(Done&& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    pause_briefly();
  }
  return done();
}

// A loop at work. It lies on its caller's stack; helpers touch it while `helping` counts them.
class Loop {
 public:
  Loop(std::int64_t pieces, int threads, const std::function<void(std::int64_t)>& piece)
      : pieces_(pieces), piece_(piece), most_helpers_(threads - 1) {}

  bool wants_helpers() const { return joined_ < most_helpers_ && next_.load(std::memory_order_relaxed) < pieces_; }
  // Under the lock of Helpers.
  void join() {
    ++joined_;
    ++helping;
  }
  void take_pieces() noexcept {
    const SerialScope serial;
    for (;;) {
      const std::int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= pieces_) return;
      try {
        piece_(i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!first_error_) first_error_ = std::current_exception();
      }
    }
  }
  void rethrow() const {
    if (first_error_) std::rethrow_exception(first_error_);
  }
  int most_helpers() const { return most_helpers_; }

  std::atomic<int> helping{0};

 private:
  std::int64_t pieces_;
  const std::function<void(std::int64_t)>& piece_;
  int most_helpers_, joined_ = 0;
  std::atomic<std::int64_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr first_error_;
};

// The threads that help, as many as a loop has ever wanted. They end with the process, and a process that was forked
// has none of its parent's.
class Helpers {
 public:
  static Helpers& of_process() {
    static Helpers* helpers = [] {
      pthread_atfork(nullptr, nullptr, [] { helpers = new Helpers; });
      return new Helpers;
    }();
    return *helpers;
  }

  void run(Loop& loop) {
    {
      const std::lock_guard lock(mutex_);
      for (; started_ < loop.most_helpers(); ++started_) std::thread([this] { help(); }).detach();
      open_.push_back(&loop);
      news_.fetch_add(1);
      for (int i = std::min(sleeping_, loop.most_helpers()); i > 0; --i) loop_opened_.notify_one();
    }
    loop.take_pieces();
    {
      const std::lock_guard lock(mutex_);
      open_.erase(std::find(open_.begin(), open_.end(), &loop));  // nobody joins from now on
    }
    const auto left = [&] { return loop.helping.load() == 0; };
    if (!spin_until(left)) {
      ++waiting_callers_;
      std::unique_lock lock(mutex_);
      loop_left_.wait(lock, left);
      --waiting_callers_;
    }
    loop.rethrow();
  }

 private:
  void help() {
    for (;;) {
      Loop* const loop = join();
      loop->take_pieces();
      if (loop->helping.fetch_sub(1) > 1) continue;
      // The loop may be gone. Its caller either sees that it has been left, or is counted among those that wait.
      if (waiting_callers_.load() == 0) continue;
      { const std::lock_guard lock(mutex_); }
      loop_left_.notify_all();
    }
  }

  // Waits for a loop that wants help, and joins it.
  Loop* join() {
    std::unique_lock lock(mutex_);
    for (;;) {
      for (Loop* const loop : open_) {
        if (!loop->wants_helpers()) continue;
        loop->join();
        return loop;
      }
      const std::uint64_t known = news_.load();
      lock.unlock();
      const bool opened = spin_until([&] { return news_.load(std::memory_order_relaxed) != known; });
      lock.lock();
      if (opened || news_.load() != known) continue;
      ++sleeping_;
      loop_opened_.wait(lock, [&] { return news_.load() != known; });
      --sleeping_;
    }
  }

  std::mutex mutex_;
  std::condition_variable loop_opened_, loop_left_;
  std::vector<Loop*> open_;
  int started_ = 0, sleeping_ = 0;
  std::atomic<std::uint64_t> news_{0};  // loops opened so far
  std::atomic<int> waiting_callers_{0};
};

}  // namespace

int thread_count() { return threads().load(std::memory_order_relaxed); }

void set_thread_count(int count) {
  // Above OMP_THREAD_LIMIT oneDNN would wait for shares of the work that no thread does: wrong results.
  threads() = count < 1 ? default_threads() : std::min(count, omp_get_thread_limit());
  omp_set_num_threads(thread_count());  // oneDNN and Eigen take their thread number from OpenMP
}

int library_threads() { return omp_get_max_threads(); }

void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t count = end - begin;
  if (count <= 0) return;
  const std::int64_t pieces = std::min<std::int64_t>(
      thread_count(), (count + std::max<std::int64_t>(grain, 1) - 1) / std::max<std::int64_t>(grain, 1));
  const int free = pieces <= 1 ? 1 : free_threads();
  if (free == 1) return body(begin, end);
  const std::function<void(std::int64_t)> piece = [&](std::int64_t p) {
    body(begin + count * p / pieces, begin + count * (p + 1) / pieces);
  };
  Loop loop(pieces, static_cast<int>(std::min<std::int64_t>(free, pieces)), piece);
  Helpers::of_process().run(loop);
}

void parallel_for_each(std::int64_t begin, std::int64_t end, const std::function<void(std::int64_t)>& body) {
  const int free = end - begin <= 1 ? 1 : free_threads();
  if (free == 1) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
    return;
  }
  const std::function<void(std::int64_t)> piece = [&](std::int64_t i) { body(begin + i); };
  Loop loop(end - begin, static_cast<int>(std::min<std::int64_t>(free, end - begin)), piece);
  Helpers::of_process().run(loop);
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

ThreadShare::ThreadShare(int threads)
    : threads_(threads), held_before_(held_threads), library_threads_before_(omp_get_max_threads()) {
  held_threads = held_before_ + threads_;
  all_held_threads += threads_;
  omp_set_num_threads(std::min(threads_, thread_count()));
}
ThreadShare::~ThreadShare() {
  omp_set_num_threads(library_threads_before_);
  all_held_threads -= threads_;
  held_threads = held_before_;
}

}  // namespace usol
