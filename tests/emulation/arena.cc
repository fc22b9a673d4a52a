#include "tests/emulation/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "tests/emulation/conflicts.h"

namespace emulation {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{4} << 30;
constexpr std::size_t kAlignment = 512;

}  // namespace

Arena::Arena() {
  void* base = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) std::abort();
  base_ = static_cast<unsigned char*>(base);
  free_[0] = kArenaBytes;
  watch_device_memory(base, kArenaBytes);
}

std::size_t Arena::rounded(std::size_t bytes) {
  return std::max<std::size_t>((bytes + kAlignment - 1) / kAlignment, 1) * kAlignment;
}
std::size_t Arena::offset_of(const void* p) const {
  return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - base_);
}

void* Arena::take(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    if (hole->second < size) continue;
    const std::size_t at = hole->first, rest = hole->second - size;
    free_.erase(hole);
    if (rest > 0) free_[at + size] = rest;
    used_[at] = {size, bytes};
    high_ = std::max(high_, at + size);
    return base_ + at;
  }
  return nullptr;
}

bool Arena::give_back(void* data) {
  const auto found = used_.find(offset_of(data));
  if (found == used_.end()) return false;
  auto here = free_.emplace(found->first, found->second.size).first;
  used_.erase(found);
  if (const auto next = std::next(here); next != free_.end() && here->first + here->second == next->first) {
    here->second += next->second;
    free_.erase(next);
  }
  if (here != free_.begin()) {
    const auto before = std::prev(here);
    if (before->first + before->second == here->first) {
      before->second += here->second;
      free_.erase(here);
    }
  }
  return true;
}

void Arena::resize(void* data, std::size_t bytes) { used_.at(offset_of(data)).asked = bytes; }

std::size_t Arena::size_of(const void* data) const {
  const auto found = used_.find(offset_of(data));
  return found == used_.end() ? 0 : found->second.size;
}
std::size_t Arena::bytes_behind(const void* data) const {
  if (!holds(data)) return 0;
  const auto after = used_.upper_bound(offset_of(data));
  if (after == used_.begin()) return 0;
  const auto& [at, block] = *std::prev(after);
  const std::size_t inside = offset_of(data) - at;
  return inside < block.asked ? block.asked - inside : 0;
}

bool Arena::holds(const void* p) const {
  const auto* byte = static_cast<const unsigned char*>(p);
  return byte >= base_ && byte < base_ + kArenaBytes;
}

Arena::Open::Open(Arena& arena) : arena_(arena) {
  if (arena_.opened_++ == 0) arena_.protect(PROT_READ | PROT_WRITE);
}
Arena::Open::~Open() {
  if (--arena_.opened_ == 0) arena_.protect(PROT_NONE);
}

void Arena::protect(int access) {
  constexpr std::size_t kPage = 4096;
  if (high_ > 0 && mprotect(base_, (high_ + kPage - 1) / kPage * kPage, access) != 0) std::abort();
}

Arena& arena() {
  static Arena& instance = *new Arena;
  return instance;
}

}  // namespace emulation
