// Eigenproblems for the emulated CUDA device: what tensor/cuda/solver.cc asks of cuSOLVER. For machines without
// NVIDIA's headers; where they are, libraries/cusolver.cc takes cuSOLVER's own calls.

#include "usol/tensor/cuda/solver.h"

#include <algorithm>
#include <vector>

#include "tests/emulation/jacobi.h"
#include "tests/emulation/stream_work.h"

namespace usol::cuda {
void largest_symmetric_eigenpairs(const Queue& queue, double* a, std::int64_t n, std::int64_t count, double* values) {
  emulation::submit(queue.stream(), [=] {
    const emulation::Eigenpairs pairs = emulation::eigenpairs(std::vector<double>(a, a + n * n), n);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t i = n - count + k;
      values[k] = pairs.values[i];
      std::copy_n(pairs.vectors.data() + i * n, n, a + k * n);
    }
    return cudaSuccess;
  });
}

}  // namespace usol::cuda
