#pragma once
// How many pictures a CPU works on at once, and with how many threads each. The threads of a picture that is little
// work wait for each other more than they help; pictures beside each other do not wait, but each needs memory.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace usol {

/// What a picture costs, about, as sizes alone tell it: a job is planned the same way each time.
struct PictureCost {
  double flops = 0;     // of products and convolutions, which threads share well
  double bytes = 64e6;  // of memory while it is in work
};

struct AtOnce {
  int pictures = 1, threads = 1;  // threads for each
  double memory_bytes = 0;        // for all of them

  /// For the i-th of `count` pictures: the last ones, where they are fewer than are worked on at once, get the threads
  /// that nobody else needs.
  int threads_of(std::size_t i, std::size_t count) const;
};

/// A picture gets a thread for every 100 GFLOP, at least one; as many pictures are worked on at once as there are
/// threads for, as there are, and as the memory holds. Threads that are left over are shared out.
AtOnce pictures_at_once(const PictureCost& cost, std::int64_t pictures, int threads, double memory_bytes);

/// Half of the memory that this process may still take (free_memory()), in bytes.
double memory_for_pictures();

/// Lets pictures begin while the tensors of this process take no more than `bytes` beside what they took when the gate
/// was made, and always one.
class MemoryGate {
 public:
  explicit MemoryGate(double bytes);
  /// Waits until a picture may begin, and lets it in.
  void enter();
  /// That picture is done.
  void leave();

 private:
  double bytes_;
  std::mutex mutex_;
  std::condition_variable left_;
  int inside_ = 0;
};

}  // namespace usol
