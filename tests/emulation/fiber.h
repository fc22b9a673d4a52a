#pragma once
// A stack of its own to run a function on, left and entered again at will. On x86-64 a switch is a dozen instructions;
// elsewhere it is swapcontext, which makes a system call each time.

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

class Fiber {
 public:
  /// Will run main(), which must never return, when first entered.
  explicit Fiber(void (*main)());
  /// Enters the fiber from the scheduler; comes back when the fiber calls leave().
  void enter();
  /// Called on the fiber: goes back to where enter() was called.
  void leave();

  int thread = -1;  // the CUDA thread it runs

 private:
  static constexpr std::size_t kStackBytes = std::size_t{128} << 10;
  std::unique_ptr<unsigned char[]> stack_;
#if defined(__x86_64__)
  void *own_ = nullptr, *scheduler_ = nullptr;  // stack pointers
#else
  ucontext_t own_{}, scheduler_{};
#endif
};

}  // namespace emulation
