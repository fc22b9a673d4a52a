#pragma once
// Runs the threads of one CUDA block on the calling thread, each on a stack of its own as soon as one waits for others.

#include <cuda_runtime.h>

#include <functional>

namespace emulation {

/// Runs thread() once per thread of the block that blockIdx names, with threadIdx set. Threads start in an order
/// derived from `order`, so that kernels which depend on the order show it. False if threads wait for others that never
/// come.
bool run_block(const std::function<void()>& thread, std::size_t shared_bytes, unsigned order);

}  // namespace emulation
