// CUDA memory from the stream-ordered pool: allocating and freeing are queued like kernels, so neither waits.
// A block belongs to the stream that was current when it was made and is freed in that stream's order; another stream
// that uses it must be ordered with it by an Event (tensor/stream.h), and is remembered by share(), so that the memory
// is not returned under its hands.

#include "usol/tensor/allocator.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "usol/tensor/cuda/check.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/stream.h"

namespace usol::cuda {
namespace {

class CudaAllocator final : public Allocator {
 public:
  void release_cached() override {
    std::set<int> devices;
    {
      const std::lock_guard lock(mutex_);
      devices = pools_;
    }
    for (int device : devices) {
      const DeviceScope scope(device);
      cudaMemPool_t pool = nullptr;
      USOL_CUDA_CHECK(cudaDeviceSynchronize());  // frees still queued count as used
      USOL_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
      USOL_CUDA_CHECK(cudaMemPoolTrimTo(pool, 0));
    }
  }

  void share(void* data, const Stream& stream) override {
    const std::lock_guard lock(mutex_);
    if (const auto found = blocks_.find(data); found != blocks_.end()) found->second.users.push_back(stream);
  }

 protected:
  void* do_allocate(std::size_t bytes, int device_index) override {
    if (device_index < 0 || device_index >= device_count(DeviceType::kCuda))
      fail(ErrorKind::kUnsupported, no_device_text(device_index));
    const DeviceScope scope(device_index);
    keep_pool(device_index);
    Block block{Stream::current(Device::cuda(device_index)), guards_active() ? kGuardBytes : 0};
    void* data = nullptr;
    const std::size_t size = std::max<std::size_t>(bytes, 1) + 2 * block.guard;
    const cudaError_t status = cudaMallocAsync(&data, size, stream_of(block));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;  // Allocator::allocate releases what is cached, tries again, then throws with live and peak bytes
    }
    USOL_CUDA_CHECK(status);
    data = static_cast<unsigned char*>(data) + block.guard;
    if (block.guard > 0) {
      USOL_CUDA_CHECK(cudaMemsetAsync(front(data), kGuardValue, kGuardBytes, stream_of(block)));
      USOL_CUDA_CHECK(cudaMemsetAsync(back(data, bytes), kGuardValue, kGuardBytes, stream_of(block)));
    }
    const std::lock_guard lock(mutex_);
    blocks_.emplace(data, std::move(block));
    return data;
  }

  void do_deallocate(void* data, std::size_t bytes, int device_index) noexcept override {
    try {
      auto node = [&] {
        const std::lock_guard lock(mutex_);
        return blocks_.extract(data);
      }();
      const Block& block = node.mapped();
      const DeviceScope scope(device_index);
      for (const Stream& user : block.users) {
        Event used(user.device());
        used.record(user);
        used.wait(block.stream);
      }
      if (block.guard > 0) {
        check_guard(front(data), block);
        check_guard(back(data, bytes), block);
        data = front(data);
      }
      log_status(cudaFreeAsync(data, stream_of(block)), "cudaFreeAsync");
    } catch (const std::exception& e) {
      log_status(cudaErrorUnknown, e.what());
    }
  }

 private:
  struct Block {
    Stream stream;
    std::size_t guard;
    std::vector<Stream> users = {};
  };
  static cudaStream_t stream_of(const Block& block) { return static_cast<cudaStream_t>(block.stream.handle()); }
  static unsigned char* front(void* data) { return static_cast<unsigned char*>(data) - kGuardBytes; }
  static unsigned char* back(void* data, std::size_t bytes) { return static_cast<unsigned char*>(data) + bytes; }

  static void check_guard(const unsigned char* guard, const Block& block) {
    std::array<unsigned char, kGuardBytes> bytes{};
    USOL_CUDA_CHECK(cudaMemcpyAsync(bytes.data(), guard, kGuardBytes, cudaMemcpyDeviceToHost, stream_of(block)));
    USOL_CUDA_CHECK(cudaStreamSynchronize(stream_of(block)));
    if (!std::all_of(bytes.begin(), bytes.end(), [](unsigned char c) { return c == kGuardValue; }))
      report_guard_violation();
  }

  static std::string no_device_text(int device_index) {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    const std::string reason = status == cudaSuccess ? std::to_string(count) + " CUDA device(s) answer"
                                                     : std::string("CUDA says ") + cudaGetErrorString(status);
    return "device cuda:" + std::to_string(device_index) + ": " + reason;
  }

  // Freed blocks stay in the pool: giving them back to the driver at every synchronisation would cost more than the
  // kernels. release_cached() gives them back.
  void keep_pool(int device_index) {
    {
      const std::lock_guard lock(mutex_);
      if (!pools_.insert(device_index).second) return;
    }
    cudaMemPool_t pool = nullptr;
    std::uint64_t threshold = UINT64_MAX;
    USOL_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device_index));
    USOL_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  }

  std::mutex mutex_;
  std::unordered_map<void*, Block> blocks_;
  std::set<int> pools_;  // devices whose pool was set up
};

// Never destroyed: tensors with static storage may be released after other statics.
[[maybe_unused]] const bool registered = [] {
  register_allocator(DeviceType::kCuda, new CudaAllocator);
  return true;
}();

}  // namespace
}  // namespace usol::cuda
