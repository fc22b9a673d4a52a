#include "usol/pipeline/pictures_at_once.h"

#include <algorithm>

#include "usol/pipeline/free_memory.h"
#include "usol/tensor/allocator.h"

namespace usol {
namespace {

// A ViT-B/8's picture at 480 px has about 1000: of ten threads each has a second's work in a hundred loops, beside
// which their waiting for each other is little.
constexpr double kFlopsOfThread = 100e9;

double live_bytes() { return static_cast<double>(allocator(DeviceType::kCpu).stats().live_bytes); }

}  // namespace

int AtOnce::threads_of(std::size_t i, std::size_t count) const {
  const auto together = static_cast<std::size_t>(pictures);
  const std::size_t last = count % together;
  return i < count - last ? threads : threads * pictures / static_cast<int>(last);
}

AtOnce pictures_at_once(const PictureCost& cost, std::int64_t pictures, int threads, double memory_bytes) {
  const int wanted = static_cast<int>(std::clamp(cost.flops / kFlopsOfThread, 1.0, static_cast<double>(threads)));
  const double fit = std::max(1.0, memory_bytes / std::max(cost.bytes, 1.0));
  AtOnce plan;
  plan.pictures = static_cast<int>(
      std::min({static_cast<double>(threads / wanted), static_cast<double>(std::max<std::int64_t>(pictures, 1)), fit}));
  plan.threads = threads / plan.pictures;
  plan.memory_bytes = memory_bytes;
  return plan;
}

double memory_for_pictures() { return free_memory() / 2; }

MemoryGate::MemoryGate(double bytes) : bytes_(live_bytes() + bytes) {}

void MemoryGate::enter() {
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] { return inside_ == 0 || live_bytes() < bytes_; });
  ++inside_;
}

void MemoryGate::leave() {
  {
    const std::lock_guard lock(mutex_);
    --inside_;
  }
  left_.notify_all();
}

}  // namespace usol
