#pragma once
// Runs the threads of one CUDA block on the calling thread, each on a stack of its own as soon as one waits for others.

#include <cuda_runtime.h>

#include <functional>

namespace emulation {

/// Runs thread() once per thread of the block that blockIdx names (number `index` of the grid), with threadIdx set. In
/// which order threads start, and which goes on first after they met, is chosen by the seed (schedule.h). Shared memory
/// is poisoned before. False if threads wait for others that never come.
bool run_block(const std::function<void()>& thread, std::size_t shared_bytes, unsigned index);

}  // namespace emulation
