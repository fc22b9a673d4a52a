#pragma once
// Whether what this thread computes is recorded for gradients. The switch is autograd's (autograd/grad_mode.h) and lies
// here because Tensor reads it: its members refuse to lose a gradient that is being recorded.

namespace usol {

struct Recording {
  bool enabled = true;
  bool in_kernel = false;  // a kernel sees elements alone: its op has cared for the gradient
};

/// This thread's.
Recording& recording();

/// Around a kernel: while it is alive, views of any tensor may be taken.
class InKernel {
 public:
  InKernel() : previous_(recording().in_kernel) { recording().in_kernel = true; }
  ~InKernel() { recording().in_kernel = previous_; }
  InKernel(const InKernel&) = delete;
  InKernel& operator=(const InKernel&) = delete;

 private:
  bool previous_;
};

}  // namespace usol
