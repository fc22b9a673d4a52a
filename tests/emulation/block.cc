#include "tests/emulation/block.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/emulation/fiber.h"

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace emulation {
namespace {

constexpr int kWarp = 32;

struct Warp {
  unsigned arrived = 0;  // lanes waiting
  std::vector<Fiber*> waiting;
  // Two buffers in turn: a lane may give its next value while another has yet to read the last ones.
  std::array<std::array<std::array<unsigned char, 16>, kWarp>, 2> slots{};
};

struct Block {
  const std::function<void()>* thread = nullptr;
  int size = 0, next = 0, finished = 0;
  int step = 1, first = 0;  // thread number k runs CUDA thread (first + k * step) % size
  std::deque<Fiber*> ready;
  std::vector<Fiber*> idle, at_barrier;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned char> turn;  // of each thread: which buffer its next exchange uses
  std::vector<unsigned char> shared;
  Fiber* running = nullptr;
};

Block block;

void set_thread(int thread) {
  const auto t = static_cast<unsigned>(thread);
  threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

// A fiber runs threads to their end, one after the other, until one of them waits.
void fiber_main() {
  for (;;) {
    Fiber* self = block.running;
    while (block.next < block.size) {
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

// Waits until all lanes of the warp have come.
void wait_for_warp(unsigned mask) {
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
    block.ready.insert(block.ready.end(), own.waiting.begin(), own.waiting.end());
    own.waiting.clear();
    return;
  }
  own.waiting.push_back(block.running);
  yield();
}

}  // namespace

int lane() { return block.running->thread % kWarp; }
void* dynamic_shared_bytes() { return block.shared.data(); }

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
  wait_for_warp(mask);
  const int from = source >= 0 && source < kWarp ? source : lane();
  std::memcpy(result, slots[static_cast<std::size_t>(from)].data(), bytes);
}

unsigned ballot(unsigned mask, bool predicate) {
  Warp& own = own_warp();
  auto& turn = block.turn[static_cast<std::size_t>(block.running->thread)];
  auto& slots = own.slots[turn];
  turn ^= 1;
  slots[static_cast<std::size_t>(lane())][0] = predicate;
  wait_for_warp(mask);
  unsigned result = 0;
  for (int l = 0; l < kWarp; ++l)
    if ((mask >> l & 1u) != 0 && slots[static_cast<std::size_t>(l)][0] != 0) result |= 1u << l;
  return result;
}

bool run_block(const std::function<void()>& thread, std::size_t shared_bytes, unsigned order) {
  block.thread = &thread;
  block.size = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  block.next = block.finished = 0;
  block.first = static_cast<int>(order % static_cast<unsigned>(block.size));
  block.step = 1 + static_cast<int>(order / 7 % 61);
  while (std::gcd(block.step, block.size) != 1) ++block.step;
  block.warps.assign(static_cast<std::size_t>((block.size + kWarp - 1) / kWarp), {});
  block.turn.assign(static_cast<std::size_t>(block.size), 0);
  block.shared.assign(shared_bytes + 16, 0xFF);  // what a kernel reads before writing it is NaN
  while (block.finished < block.size) {
    if (!block.ready.empty()) {
      Fiber* fiber = block.ready.front();
      block.ready.pop_front();
      resume(fiber);
    } else if (block.next < block.size) {
      resume(idle_fiber());
    } else if (static_cast<int>(block.at_barrier.size()) == block.size - block.finished) {
      block.ready.assign(block.at_barrier.begin(), block.at_barrier.end());
      block.at_barrier.clear();
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
