#pragma once
// The working memory that a library's call may use. It holds nothing from call to call: it is poisoned in each.

#include <cstddef>
#include <cstring>
#include <string>

#include "tests/emulation/stream_work.h"

namespace emulation {

struct LibraryWorkspace {
  void* data = nullptr;
  std::size_t given = 0, used = 0;  // bytes

  std::string fault() const {
    if (used > given) return "the algorithm needs a larger workspace";
    if (given > 0 && bytes_behind(data) < given) return "the workspace is smaller than was said";
    return {};
  }
  // To be called when the work runs: the memory may have gone back since the call.
  cudaError_t poison() const {
    if (used == 0) return cudaSuccess;
    if (bytes_behind(data) < used) return cudaErrorIllegalAddress;
    std::memset(data, 0xFF, used);
    return cudaSuccess;
  }
};

}  // namespace emulation
