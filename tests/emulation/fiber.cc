#include "tests/emulation/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
// Saves the registers that a function must keep, stores the stack pointer and goes on with another one.
extern "C" void usol_emulation_switch(void** save, void* load);
asm(R"(
.text
.type usol_emulation_switch, @function
usol_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size usol_emulation_switch, . - usol_emulation_switch
)");
#endif

namespace emulation {

Fiber::Fiber(void (*main)()) : stack_(new unsigned char[kStackBytes]) {
#if defined(__x86_64__)
  // As if main() had been called and had then called usol_emulation_switch: from the top a null return address (which
  // leaves the stack aligned as a call does), main's address, six registers.
  auto top = reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes);
  top -= top % 16;
  constexpr std::size_t kWords = 8;
  auto* frame = reinterpret_cast<std::uintptr_t*>(top) - kWords;
  std::memset(frame, 0, kWords * sizeof(*frame));
  frame[6] = reinterpret_cast<std::uintptr_t>(main);
  own_ = frame;
#else
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  makecontext(&own_, main, 0);
#endif
}

#if defined(__x86_64__)
void Fiber::enter() { usol_emulation_switch(&scheduler_, own_); }
void Fiber::leave() { usol_emulation_switch(&own_, scheduler_); }
#else
void Fiber::enter() { swapcontext(&scheduler_, &own_); }
void Fiber::leave() { swapcontext(&own_, &scheduler_); }
#endif

}  // namespace emulation
