#pragma once
// Queue: how a .cu file launches its kernels. It holds the op's name for errors, makes the device current and knows the
// stream. Kernels are launched with Queue::launch, never with <<<>>>, so that every launch is checked.

#include <cuda_runtime.h>

#include <cstdint>

#include "usol/tensor/cuda/check.h"
#include "usol/tensor/device.h"

namespace usol::cuda {

inline constexpr int kThreads = 256;  // of a block, where a kernel has no reason for another number

/// Blocks of a launch: x carries 64-bit counts in kernels that loop over the grid.
struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

class Queue {
 public:
  Queue(const char* op, Device device)
      : op_(op), device_(device.index), scope_(device.index), stream_(current_stream(device.index)) {}

  const char* op() const { return op_; }
  int device() const { return device_; }
  cudaStream_t stream() const { return stream_; }

  /// Blocks for a grid-stride loop over `count` items: enough to fill the device, and no more than there is work for.
  Grid blocks_for(std::int64_t count, int threads = kThreads) const {
    const std::int64_t wanted = (count + threads - 1) / threads, most = std::int64_t{32} * multiprocessors(device_);
    return {wanted < most ? wanted : most};
  }

  /// Launches kernel(arguments...). A grid with a zero size launches nothing. Throws Error if CUDA refuses.
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), Grid grid, dim3 block, std::size_t shared_bytes,
              Arguments&&... arguments) const {
    if (grid.x <= 0 || grid.y <= 0 || grid.z <= 0) return;
    constexpr std::int64_t kMaxX = 0x7fffffff, kMaxYz = 65535;
    if (grid.x > kMaxX || grid.y > kMaxYz || grid.z > kMaxYz)
      fail(ErrorKind::kUnsupported, std::string(op_) + ": more blocks than a CUDA grid holds");
    const auto* address = reinterpret_cast<const void*>(kernel);
    constexpr std::size_t kSharedByDefault = 48 << 10;
    if (shared_bytes > kSharedByDefault)
      USOL_CUDA_CHECK(
          cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    check_launch(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), op_, address, stream_);
  }

 private:
  const char* op_;
  int device_;
  DeviceScope scope_;
  cudaStream_t stream_;
};

}  // namespace usol::cuda
