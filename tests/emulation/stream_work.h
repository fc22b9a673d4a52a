#pragma once
// For the replacements of CUDA libraries: work on a stream.

#include <cuda_runtime_api.h>

#include <functional>

namespace emulation {

/// Runs `work` with device memory accessible, or adds it to the graph that the stream captures.
void submit(cudaStream_t stream, std::function<void()> work);

}  // namespace emulation
