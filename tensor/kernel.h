#pragma once
// A Kernel is an op's entry per device: one slot per device type, filled at start-up by a Register in x.cc (CPU) and
// x.cu (CUDA). The op's own function checks arguments, makes the output and calls the kernel.

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "usol/tensor/device.h"
#include "usol/tensor/error.h"
#include "usol/tensor/recording.h"

namespace usol {

/// One filled slot, as tests list them.
struct KernelSlot {
  const char* name;
  DeviceType device;
  std::atomic<bool>* called;  // set by every call; tests reset it to see which kernels a case used
};
/// All slots filled in this binary.
std::vector<KernelSlot>& filled_kernel_slots();

template <class Signature>
class Kernel;

template <class... Args>
class Kernel<void(Args...)> {
 public:
  using Function = void (*)(Args...);

  constexpr explicit Kernel(const char* name) : name_(name) {}
  const char* name() const { return name_; }
  bool has(DeviceType type) const { return slots_[static_cast<int>(type)] != nullptr; }

  /// Calls the slot of `device`. Throws Error(kUnsupported) when it is empty in this build.
  void operator()(const Device& device, Args... args) const {
    const auto slot = static_cast<std::size_t>(device.type);
    if (!slots_[slot])
      fail(ErrorKind::kUnsupported,
           std::string(name_) + ": no kernel for device " + to_string(device) + " in this build");
    called_[slot].store(true, std::memory_order_relaxed);
    const InKernel in_kernel;
    slots_[slot](args...);
  }
  void set(DeviceType type, Function function) {
    const auto slot = static_cast<std::size_t>(type);
    slots_[slot] = function;
    filled_kernel_slots().push_back({name_, type, &called_[slot]});
  }

 private:
  const char* name_;
  std::array<Function, kDeviceTypes> slots_{};
  mutable std::array<std::atomic<bool>, kDeviceTypes> called_{};
};

/// Fills a slot when constructed: `const Register r(softmax_kernel, DeviceType::kCpu, softmax_cpu);`
struct Register {
  template <class Signature>
  Register(Kernel<Signature>& kernel, DeviceType type, typename Kernel<Signature>::Function function) {
    kernel.set(type, function);
  }
};

}  // namespace usol
