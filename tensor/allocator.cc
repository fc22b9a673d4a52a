#include "usol/tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kCachedBlock = std::size_t{256} << 10;  // smaller blocks go straight to malloc
constexpr std::size_t kCacheAlways = std::size_t{384} << 20;  // bytes kept for reuse, whatever the peak was

std::atomic<int> guards_on{0};
std::atomic<int> guard_violations{0};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCacheBlocks = false;  // reuse would hide use-after-free
#else
constexpr bool kCacheBlocks = true;
#endif

class CpuAllocator final : public Allocator {
 public:
  ~CpuAllocator() override { release_cached(); }

  void release_cached() override {
    const std::lock_guard lock(mutex_);
    for (const Block& block : cache_) std::free(block.data);
    cache_.clear();
    cached_bytes_ = 0;
  }

 protected:
  void* do_allocate(std::size_t bytes, int) override {
    if (guards_active()) return allocate_guarded(bytes);
    const std::size_t size = rounded(bytes);
    if (kCacheBlocks && size >= kCachedBlock) {
      const std::lock_guard lock(mutex_);
      const auto found = best_fit(size);
      if (found != cache_.end()) {
        void* data = found->data;
        cached_bytes_ -= found->size;
        if (found->size != size) larger_[data] = found->size;
        cache_.erase(found);
        return data;
      }
    }
    trim(size);
    void* data = std::aligned_alloc(size >= kHugePage ? kHugePage : kAlignment, size);
    if (data && size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);
    return data;
  }

  void do_deallocate(void* data, std::size_t bytes, int) noexcept override {
    if (deallocate_guarded(data, bytes)) return;
    std::size_t size = rounded(bytes);
    if (!kCacheBlocks || size < kCachedBlock) return std::free(data);
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = larger_.find(data); found != larger_.end()) {
        size = found->second;
        larger_.erase(found);
      }
      cache_.push_back({data, size});
      cached_bytes_ += size;
    }
    trim(0);
  }

 private:
  struct Block {
    void* data;
    std::size_t size;
  };

  // The smallest cached block that holds `size` bytes, if it is not much larger: the maps of the next picture have
  // other sizes than those of the last one, by a little.
  std::vector<Block>::iterator best_fit(std::size_t size) {
    auto best = cache_.end();
    for (auto block = cache_.begin(); block != cache_.end(); ++block)
      if (block->size >= size && block->size <= size + size / 4 && (best == cache_.end() || block->size < best->size))
        best = block;
    return best;
  }

  // Frees cached blocks, oldest first, until live and cached bytes with `more` live ones stay below the peak: a
  // training step finds all its blocks again, and reuse never makes the process larger than it has been.
  void trim(std::size_t more) {
    const MemoryStats now = stats();
    const std::size_t live = now.live_bytes + more;
    const std::size_t limit = std::max(kCacheAlways, now.peak_bytes > live ? now.peak_bytes - live : 0);
    const std::lock_guard lock(mutex_);
    while (cached_bytes_ > limit) {
      cached_bytes_ -= cache_.front().size;
      std::free(cache_.front().data);
      cache_.erase(cache_.begin());
    }
  }

  static std::size_t rounded(std::size_t bytes) {
    const std::size_t unit = bytes >= kHugePage ? kHugePage : kAlignment;
    return (std::max<std::size_t>(bytes, 1) + unit - 1) / unit * unit;
  }

  void* allocate_guarded(std::size_t bytes) {
    auto* raw = static_cast<unsigned char*>(
        std::aligned_alloc(kAlignment, (bytes + 2 * kGuardBytes + kAlignment - 1) / kAlignment * kAlignment));
    if (!raw) return nullptr;
    std::memset(raw, kGuardValue, kGuardBytes);
    std::memset(raw + kGuardBytes + bytes, kGuardValue, kGuardBytes);
    const std::lock_guard lock(mutex_);
    guarded_[raw + kGuardBytes] = bytes;
    return raw + kGuardBytes;
  }

  bool deallocate_guarded(void* data, std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      if (guarded_.empty() || guarded_.erase(data) == 0) return false;
    }
    auto* raw = static_cast<unsigned char*>(data) - kGuardBytes;
    const auto intact = [](const unsigned char* p) {
      return std::all_of(p, p + kGuardBytes, [](unsigned char c) { return c == kGuardValue; });
    };
    if (!intact(raw) || !intact(raw + kGuardBytes + bytes)) report_guard_violation();
    std::free(raw);
    return true;
  }

  std::mutex mutex_;
  std::vector<Block> cache_;
  std::size_t cached_bytes_ = 0;
  std::unordered_map<void*, std::size_t> larger_;  // sizes of the blocks handed out that are larger than was asked for
  std::unordered_map<void*, std::size_t> guarded_;
};

// Never destroyed: tensors with static storage may be released after other statics.
Allocator*& slot(DeviceType type) {
  static Allocator* slots[kDeviceTypes] = {new CpuAllocator, nullptr};
  return slots[static_cast<int>(type)];
}

}  // namespace

void* Allocator::allocate(std::size_t bytes, int device_index) {
  void* data = do_allocate(bytes, device_index);
  if (!data) {
    release_cached();
    data = do_allocate(bytes, device_index);
  }
  const MemoryStats now = stats();
  check(data != nullptr, ErrorKind::kOutOfMemory, "out of memory: {} bytes asked for, {} live, {} at peak", bytes,
        now.live_bytes, now.peak_bytes);
  const std::size_t live = live_bytes_ += bytes;
  ++live_blocks_;
  std::size_t peak = peak_bytes_.load();
  while (live > peak && !peak_bytes_.compare_exchange_weak(peak, live)) {
  }
  return data;
}

void Allocator::deallocate(void* data, std::size_t bytes, int device_index) noexcept {
  live_bytes_ -= bytes;
  --live_blocks_;
  do_deallocate(data, bytes, device_index);
}

MemoryStats Allocator::stats() const { return {live_bytes_.load(), peak_bytes_.load(), live_blocks_.load()}; }

void Allocator::reset_peak() { peak_bytes_ = live_bytes_.load(); }

Allocator& allocator(DeviceType type) {
  Allocator* found = slot(type);
  check(found != nullptr, ErrorKind::kUnsupported,
        "device {}: this program is linked without support for it (usol-cuda, or usol::cuda in a program, has it)",
        name_of(type));
  return *found;
}

void register_allocator(DeviceType type, Allocator* allocator) { slot(type) = allocator; }

GuardedAllocations::GuardedAllocations() : before_(guard_violations) { ++guards_on; }
GuardedAllocations::~GuardedAllocations() { --guards_on; }
int GuardedAllocations::violations() const { return guard_violations - before_; }

bool guards_active() { return guards_on.load(std::memory_order_relaxed) > 0; }
void report_guard_violation() { ++guard_violations; }

}  // namespace usol
