#pragma once
// For threads that each work on a picture of their own, beside one another.

namespace usol {

/// While alive, `threads` of thread_count() are the calling thread's: the libraries under the CPU's ops take that many,
/// and the loops of tensor/parallel.h may also use what no other ThreadShare holds, so that the last pictures of many
/// get the threads of those that are done. Not for training, whose last digits the libraries' threads decide.
class ThreadShare {
 public:
  explicit ThreadShare(int threads);
  ~ThreadShare();
  ThreadShare(const ThreadShare&) = delete;
  ThreadShare& operator=(const ThreadShare&) = delete;

 private:
  int threads_, held_before_, library_threads_before_;
};

/// How many threads the libraries (oneDNN, Eigen) take when the calling thread calls them now.
int library_threads();

}  // namespace usol
