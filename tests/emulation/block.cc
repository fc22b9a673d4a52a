#include "tests/emulation/block.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/emulation/conflicts.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/schedule.h"

// Where the linker put the variables that kernels declare __shared__.
extern "C" {
extern unsigned char __start_usol_shared[], __stop_usol_shared[];
}

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace emulation {
namespace {

constexpr int kWarp = 32;
constexpr int kPoison = 0xFF;  // NaN, or -1: what a kernel reads before writing it shows
constexpr std::size_t kMostShared = 227 << 10;

alignas(16) unsigned char dynamic_shared[kMostShared];

struct Warp {
  unsigned arrived = 0;  // lanes waiting
  std::vector<Fiber*> waiting;
  unsigned steps = 0;  // how often its lanes met in __syncwarp()
  // Two buffers in turn: a lane may give its next value while another has yet to read the last ones.
  std::array<std::array<std::array<unsigned char, 16>, kWarp>, 2> slots{};
};

struct Block {
  const std::function<void()>* thread = nullptr;
  int size = 0, next = 0, finished = 0;
  unsigned index = 0;
  int step = 1, first = 0;  // thread number k runs CUDA thread (first + k * step) % size
  std::vector<Fiber*> ready, idle, at_barrier;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned char> turn;  // of each thread: which buffer its next exchange uses
  Fiber* running = nullptr;
};

Block block;

void set_thread(int thread) {
  const auto t = static_cast<unsigned>(thread);
  set_place({block.index, t, block.warps[t / kWarp].steps});
  threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

// A fiber runs threads to their end, one after the other, until one of them waits.
void fiber_main() {
  for (;;) {
    Fiber* self = block.running;
    bool first = true;
    while (block.next < block.size && (first || block.ready.empty() || choose(4) != 0)) {
      first = false;
      self->thread = (block.first + block.next++ * block.step) % block.size;
      set_thread(self->thread);
      (*block.thread)();
      ++block.finished;
    }
    block.idle.push_back(self);
    self->leave();
  }
}

void yield() {
  Fiber* self = block.running;
  self->leave();
  set_thread(self->thread);
}

void resume(Fiber* fiber) {
  block.running = fiber;
  fiber->enter();
}

Fiber* idle_fiber() {
  if (block.idle.empty()) {
    block.fibers.push_back(std::make_unique<Fiber>(fiber_main));
    return block.fibers.back().get();
  }
  Fiber* fiber = block.idle.back();
  block.idle.pop_back();
  return fiber;
}

Warp& own_warp() { return block.warps[static_cast<std::size_t>(block.running->thread / kWarp)]; }

// Waits until all lanes of the warp have come; `orders`: what they did before is then done.
void wait_for_warp(unsigned mask, bool orders) {
  if (mask != ~0u) {
    std::fputs("emulation: warp functions are emulated for whole warps only\n", stderr);
    std::abort();
  }
  const int warp = block.running->thread / kWarp, lanes = std::min(kWarp, block.size - warp * kWarp);
  const unsigned existing = lanes == kWarp ? ~0u : (1u << lanes) - 1;
  Warp& own = own_warp();
  own.arrived |= 1u << lane();
  if (own.arrived == existing) {
    own.arrived = 0;
    if (orders) ++own.steps;
    set_thread(block.running->thread);
    block.ready.insert(block.ready.end(), own.waiting.begin(), own.waiting.end());
    own.waiting.clear();
    return;
  }
  own.waiting.push_back(block.running);
  yield();
}

}  // namespace

int lane() { return block.running->thread % kWarp; }
void* dynamic_shared_bytes() { return dynamic_shared; }

void sync_warp(unsigned mask) { wait_for_warp(mask, true); }

void wait_for_block() {
  block.at_barrier.push_back(block.running);
  yield();
}

void exchange(unsigned mask, const void* value, void* result, std::size_t bytes, int source) {
  Warp& own = own_warp();
  auto& turn = block.turn[static_cast<std::size_t>(block.running->thread)];
  auto& slots = own.slots[turn];
  turn ^= 1;
  std::memcpy(slots[static_cast<std::size_t>(lane())].data(), value, bytes);
  wait_for_warp(mask, false);
  const int from = source >= 0 && source < kWarp ? source : lane();
  std::memcpy(result, slots[static_cast<std::size_t>(from)].data(), bytes);
}

unsigned ballot(unsigned mask, bool predicate) {
  Warp& own = own_warp();
  auto& turn = block.turn[static_cast<std::size_t>(block.running->thread)];
  auto& slots = own.slots[turn];
  turn ^= 1;
  slots[static_cast<std::size_t>(lane())][0] = predicate;
  wait_for_warp(mask, false);
  unsigned result = 0;
  for (int l = 0; l < kWarp; ++l)
    if ((mask >> l & 1u) != 0 && slots[static_cast<std::size_t>(l)][0] != 0) result |= 1u << l;
  return result;
}

bool run_block(const std::function<void()>& thread, std::size_t shared_bytes, unsigned index) {
  [[maybe_unused]] static const bool watched = [] {
    watch_shared_memory(__start_usol_shared, static_cast<std::size_t>(__stop_usol_shared - __start_usol_shared));
    watch_shared_memory(dynamic_shared, kMostShared);
    return true;
  }();
  block.thread = &thread;
  block.index = index;
  block.size = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  block.next = block.finished = 0;
  const auto size = static_cast<std::uint64_t>(block.size);
  block.first = static_cast<int>(choose(size));
  block.step = 1 + static_cast<int>(choose(size));
  while (std::gcd(block.step, block.size) != 1) ++block.step;
  block.warps.assign(static_cast<std::size_t>((block.size + kWarp - 1) / kWarp), {});
  block.turn.assign(static_cast<std::size_t>(block.size), 0);
  std::memset(dynamic_shared, kPoison, shared_bytes);
  std::memset(__start_usol_shared, kPoison, static_cast<std::size_t>(__stop_usol_shared - __start_usol_shared));
  next_stretch(true);
  while (block.finished < block.size) {
    const std::size_t waiting = block.ready.size(), more = block.next < block.size ? 1 : 0;
    if (waiting + more > 0) {
      const std::size_t chosen = choose(waiting + more);
      if (chosen == waiting) {
        resume(idle_fiber());
      } else {
        std::swap(block.ready[chosen], block.ready.back());
        Fiber* fiber = block.ready.back();
        block.ready.pop_back();
        resume(fiber);
      }
    } else if (static_cast<int>(block.at_barrier.size()) == block.size - block.finished) {
      next_stretch(false);
      block.ready.swap(block.at_barrier);
    } else {  // some wait at the block's barrier, others in a warp function: abandon them all
      block.ready.clear();
      block.idle.clear();
      block.at_barrier.clear();
      block.fibers.clear();
      return false;
    }
  }
  return true;
}

}  // namespace emulation
