#pragma once
// Finds two threads of a kernel that touch one address, one of them writing, with nothing that orders them: threads of
// different blocks, or of one block without __syncthreads() (of one warp: __syncwarp()) between the two. Kernels are
// compiled with the instrumentation of a thread sanitizer, whose calls arrive here instead of at its library.
//
// For each four bytes of device and shared memory it keeps the last write and the last read, with the bytes they
// touched. So of several writes to different bytes of a word only the last is compared with what follows; what memcpy
// and library functions touch is not seen; neither are kernels of different streams compared with each other (there the
// order of the streams shows a missing wait).

#include <cstddef>
#include <string>

namespace emulation {

/// Where the threads are that run now.
struct Place {
  unsigned block = 0;      // number in the grid
  unsigned thread = 0;     // in the block
  unsigned warp_step = 0;  // how often its warp met in __syncwarp()
};

/// A memory range whose accesses are compared. Once, before any kernel runs.
void watch_device_memory(const void* begin, std::size_t bytes);
void watch_shared_memory(const void* begin, std::size_t bytes);

/// Around a kernel.
void begin_watching();
void end_watching();
/// A block starts, or its threads have met: what they did before is done.
void next_stretch(bool new_block);
void set_place(const Place& place);
/// An access that no other atomic one conflicts with.
void atomic_access(const void* address, std::size_t bytes);
/// The first conflict since the last call, in words; empty if there was none.
std::string take_conflict();

}  // namespace emulation
