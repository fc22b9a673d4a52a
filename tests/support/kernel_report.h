#pragma once
// Which CUDA kernels the tests called, for docs/gpu-status.md.

#include <string>

namespace usol::test {

/// From now on notes the CUDA kernels that each test calls; at the end of the run writes a line
/// "<kernel>\t<passed tests>\t<failed tests>" for each kernel of this link to `path`, 0 and 0 where it was not called.
void report_cuda_kernels(const std::string& path);

}  // namespace usol::test
