#include "usol/pipeline/pictures_at_once.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "usol/tensor/allocator.h"

namespace usol {
namespace {

// A ViT-B/8's picture at 480 px has about 1000: of ten threads each has a second's work in a hundred loops, beside
// which their waiting for each other is little.
constexpr double kFlopsOfThread = 100e9;

double live_bytes() { return static_cast<double>(allocator(DeviceType::kCpu).stats().live_bytes); }

// The number in a file of cgroup v2; `otherwise` where there is none, or "max".
double number_in(const std::string& path, double otherwise) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? value : otherwise;
}

// What the system could still give, by /proc/meminfo.
double available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (double kib = 0; file >> name >> kib; file.ignore(64, '\n'))
    if (name == "MemAvailable:") return kib * 1024;
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 2;
}

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

double memory_for_pictures() {
  const std::string group = "/sys/fs/cgroup/";
  const double system = available_bytes();
  const double own = number_in(group + "memory.max", 1e18) - number_in(group + "memory.current", 0);
  return std::max(0.0, std::min(system, own)) / 2;
}

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
