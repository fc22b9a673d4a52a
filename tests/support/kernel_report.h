#pragma once
// Which CUDA kernels the tests called, for docs/gpu-status.md.

#include <string>

namespace usol::test {

/// From now on adds a line "<test>\t<passed or failed>\t<kernel> <kernel> ..." to `path` at the end of each test, with
/// the CUDA kernels that it called.
void report_cuda_kernels(const std::string& path);

}  // namespace usol::test
