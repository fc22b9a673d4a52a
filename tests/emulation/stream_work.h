#pragma once
// For the replacements of CUDA libraries: work on a stream, and the memory that it touches.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace emulation {

/// Runs `work` with device memory accessible, or adds it to the graph that the stream captures.
void submit(cudaStream_t stream, std::function<cudaError_t()> work);
/// From this address to the end of the block of device memory around it; 0 outside of blocks.
std::size_t bytes_behind(const void* data);

}  // namespace emulation
