#include "tests/emulation/conflicts.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace emulation {
namespace {

constexpr unsigned kWarp = 32;
constexpr std::uintptr_t kWord = 4;

// Who touched a word last. Stretches are numbered through all blocks of all kernels.
struct Access {
  std::uint64_t stretch = 0;  // 0: nobody
  std::uint16_t thread = 0, warp_step = 0;
  std::uint8_t bytes = 0;  // of the word, as a mask
  bool atomic = false;
  bool other_lanes = false, other_warps = false;  // these read it in this stretch, too
};
struct Word {
  Access write, read;
};

struct Range {
  std::uintptr_t begin = 0, end = 0;
  Word* words = nullptr;
  bool shared = false;  // each block has its own
};
std::array<Range, 4> ranges;
std::size_t range_count = 0;

bool watching = false;
std::uint64_t stretch = 0, first_of_kernel = 1, first_of_block = 1;
Place here;
std::string found;

void watch(const void* begin, std::size_t bytes, bool shared) {
  const auto start = reinterpret_cast<std::uintptr_t>(begin) / kWord * kWord;
  const std::size_t words = bytes / kWord + 2;
  void* memory =
      mmap(nullptr, words * sizeof(Word), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || range_count == ranges.size()) std::abort();
  ranges[range_count++] = {start, start + bytes, static_cast<Word*>(memory), shared};
}

// True if nothing orders `other` before the thread that runs now.
bool unordered(const Access& other, unsigned bytes, bool shared) {
  if (other.stretch < first_of_kernel || (other.bytes & bytes) == 0) return false;
  if (other.stretch < first_of_block) return !shared;
  if (other.stretch != stretch) return false;
  if (other.thread / kWarp != here.thread / kWarp || other.other_warps) return true;
  if (other.warp_step != static_cast<std::uint16_t>(here.warp_step)) return false;
  return other.thread != here.thread || other.other_lanes;
}

void report(const char* what, const Access& other, std::uintptr_t address, const Range& range) {
  if (!found.empty()) return;
  found = std::string(what) + (range.shared ? " in shared memory" : " in device memory") + " at byte " +
          std::to_string(address - range.begin) + ": thread " + std::to_string(here.thread) + " of block " +
          std::to_string(here.block) + " and " +
          (other.stretch < first_of_block ? "another block"
                                          : "thread " + std::to_string(other.thread) + " of the same block") +
          ", with nothing between that orders them";
}

Access own_access(unsigned bytes, bool atomic) {
  return {stretch,
          static_cast<std::uint16_t>(here.thread),
          static_cast<std::uint16_t>(here.warp_step),
          static_cast<std::uint8_t>(bytes),
          atomic,
          false,
          false};
}

bool same_thread_and_step(const Access& other) {
  return other.stretch == stretch && other.thread == here.thread &&
         other.warp_step == static_cast<std::uint16_t>(here.warp_step);
}

void touch_word(Word& word, unsigned bytes, bool write, bool atomic, std::uintptr_t address, const Range& range) {
  if (unordered(word.write, bytes, range.shared) && !(atomic && word.write.atomic))
    report(write ? "two writes" : "a read and a write", word.write, address, range);
  if (write) {
    if (!atomic && unordered(word.read, bytes, range.shared)) report("a write and a read", word.read, address, range);
    if (atomic && !word.read.atomic && unordered(word.read, bytes, range.shared))
      report("an atomic operation and a read", word.read, address, range);
    const bool goes_on =
        same_thread_and_step(word.write) && word.write.atomic == atomic;  // it wrote other bytes of the word before
    if (goes_on) bytes |= word.write.bytes;
    word.write = own_access(bytes, atomic);
    return;
  }
  Access read = own_access(bytes, atomic);
  const Access& last = word.read;
  if (last.stretch == stretch && last.bytes == bytes) {
    read.other_warps = last.other_warps || last.thread / kWarp != here.thread / kWarp;
    read.other_lanes =
        !read.other_warps && last.warp_step == read.warp_step && (last.other_lanes || last.thread != here.thread);
  } else if (same_thread_and_step(last) && !last.other_lanes && !last.other_warps) {
    read.bytes |= last.bytes;
  }
  word.read = read;
}

void touch(const void* where, std::size_t count, bool write, bool atomic) {
  if (!watching) return;
  const auto address = reinterpret_cast<std::uintptr_t>(where);
  for (std::size_t r = 0; r < range_count; ++r) {
    const Range& range = ranges[r];
    if (address < range.begin || address >= range.end) continue;
    for (std::uintptr_t at = address; at < address + count;) {
      const std::uintptr_t word = (at - range.begin) / kWord, offset = (at - range.begin) % kWord;
      const std::uintptr_t here_bytes = std::min<std::uintptr_t>(kWord - offset, address + count - at);
      const unsigned mask = ((1u << here_bytes) - 1) << offset;
      touch_word(range.words[word], mask, write, atomic, at, range);
      at += here_bytes;
    }
    return;
  }
}

}  // namespace

void watch_device_memory(const void* begin, std::size_t bytes) { watch(begin, bytes, false); }
void watch_shared_memory(const void* begin, std::size_t bytes) { watch(begin, bytes, true); }
void begin_watching() {
  first_of_kernel = stretch + 1;
  watching = true;
}
void end_watching() { watching = false; }
void next_stretch(bool new_block) {
  ++stretch;
  if (new_block) first_of_block = stretch;
}
void set_place(const Place& place) { here = place; }
void atomic_access(const void* address, std::size_t bytes) { touch(address, bytes, true, true); }
std::string take_conflict() { return std::exchange(found, {}); }

}  // namespace emulation

// What the compiler calls in instrumented code. Source: the interface of LLVM's and GCC's -fsanitize=thread.
#define USOL_ACCESS(BYTES)                                                                 \
  void __tsan_read##BYTES(void* p) { emulation::touch(p, BYTES, false, false); }           \
  void __tsan_write##BYTES(void* p) { emulation::touch(p, BYTES, true, false); }           \
  void __tsan_unaligned_read##BYTES(void* p) { emulation::touch(p, BYTES, false, false); } \
  void __tsan_unaligned_write##BYTES(void* p) { emulation::touch(p, BYTES, true, false); }

// The host's own atomics in the same files: counts of shared pointers and the like.
#define USOL_HOST_ATOMIC(BITS)                                                                                    \
  std::uint##BITS##_t __tsan_atomic##BITS##_load(const volatile std::uint##BITS##_t* p, int) {                    \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                  \
  }                                                                                                               \
  void __tsan_atomic##BITS##_store(volatile std::uint##BITS##_t* p, std::uint##BITS##_t value, int) {             \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                                                 \
  }                                                                                                               \
  std::uint##BITS##_t __tsan_atomic##BITS##_fetch_add(volatile std::uint##BITS##_t* p, std::uint##BITS##_t value, \
                                                      int) {                                                      \
    return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);                                                        \
  }

extern "C" {
USOL_HOST_ATOMIC(8)
USOL_HOST_ATOMIC(32)
USOL_HOST_ATOMIC(64)
USOL_ACCESS(1)
USOL_ACCESS(2)
USOL_ACCESS(4)
USOL_ACCESS(8)
USOL_ACCESS(16)
void __tsan_read_range(void* p, unsigned long bytes) { emulation::touch(p, bytes, false, false); }
void __tsan_write_range(void* p, unsigned long bytes) { emulation::touch(p, bytes, true, false); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
