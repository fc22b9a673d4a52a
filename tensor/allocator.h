#pragma once
// Memory of each device. CPU blocks are 64-byte aligned and reused (fresh pages cost more than the products that fill
// them); CUDA memory comes from the stream-ordered pool (tensor/cuda/allocator.cc). Live and peak bytes are counted.

#include <atomic>
#include <cstddef>

#include "usol/tensor/device.h"

namespace usol {

class Stream;

struct MemoryStats {
  std::size_t live_bytes = 0;  // handed out and not yet returned
  std::size_t peak_bytes = 0;  // largest live_bytes since the last reset_peak()
  std::size_t live_blocks = 0;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  /// At least `bytes` bytes, 64-byte aligned. Throws Error(kOutOfMemory) with live and peak bytes.
  void* allocate(std::size_t bytes, int device_index);
  /// Returns a block of allocate() with the same size. Never throws.
  void deallocate(void* data, std::size_t bytes, int device_index) noexcept;
  /// A stream other than the one that the block was made for uses it, too: what that stream holds when the block is
  /// returned is done before anybody else gets the memory.
  virtual void share(void* /*data*/, const Stream& /*stream*/) {}
  MemoryStats stats() const;
  void reset_peak();
  /// Gives cached memory back to the system.
  virtual void release_cached() {}

 protected:
  virtual void* do_allocate(std::size_t bytes, int device_index) = 0;  // null when there is none
  virtual void do_deallocate(void* data, std::size_t bytes, int device_index) noexcept = 0;

 private:
  std::atomic<std::size_t> live_bytes_{0}, peak_bytes_{0}, live_blocks_{0};
};

/// The allocator of a device type. Throws Error(kUnsupported) when this build has none.
Allocator& allocator(DeviceType type);
/// Installs the allocator of a device type (called once at start-up by tensor/cuda).
void register_allocator(DeviceType type, Allocator* allocator);

/// While alive, every block of this process, on whatever device, carries guard bytes on both sides; violations() counts
/// the blocks whose guards were overwritten, checked when they are returned. For tests.
class GuardedAllocations {
 public:
  GuardedAllocations();
  ~GuardedAllocations();
  GuardedAllocations(const GuardedAllocations&) = delete;
  GuardedAllocations& operator=(const GuardedAllocations&) = delete;
  /// Violations found since this object was made.
  int violations() const;

 private:
  int before_;
};

/// For allocators: true while a GuardedAllocations is alive; counts one block with overwritten guards.
bool guards_active();
void report_guard_violation();
inline constexpr std::size_t kGuardBytes = 256;
inline constexpr unsigned char kGuardValue = 0xA5;

}  // namespace usol
