#include "usol/tensor/cuda/solver.h"

#include <limits>
#include <string>

#include "usol/tensor/check.h"
#include "usol/tensor/cuda/handles.h"

namespace usol::cuda {

void largest_symmetric_eigenpairs(const Queue& queue, double* a, std::int64_t n, std::int64_t count, double* values) {
  check(n <= std::numeric_limits<int>::max(), ErrorKind::kUnsupported, "{}: {} rows are more than cuSOLVER takes",
        queue.op(), n);
  Handles& handles = Handles::of(queue);
  const int size = static_cast<int>(n), first = static_cast<int>(n - count + 1);  // indices from 1
  int found = 0, doubles = 0;
  // Column-major for cuSOLVER: of a symmetric matrix the transpose is the same, and vectors in columns are our rows.
  USOL_CUDA_CHECK(cusolverDnDsyevdx_bufferSize(handles.solver(), CUSOLVER_EIG_MODE_VECTOR, CUSOLVER_EIG_RANGE_I,
                                               CUBLAS_FILL_MODE_LOWER, size, a, size, 0, 0, first, size, &found, values,
                                               &doubles));
  auto* work = static_cast<double*>(
      handles.workspace().reserve((static_cast<std::size_t>(doubles) + 1) * sizeof(double), queue.stream()));
  auto* device_info = reinterpret_cast<int*>(work + doubles);
  USOL_CUDA_CHECK(cusolverDnDsyevdx(handles.solver(), CUSOLVER_EIG_MODE_VECTOR, CUSOLVER_EIG_RANGE_I,
                                    CUBLAS_FILL_MODE_LOWER, size, a, size, 0, 0, first, size, &found, values, work,
                                    doubles, device_info));
  int info = 0;
  USOL_CUDA_CHECK(cudaMemcpyAsync(&info, device_info, sizeof(info), cudaMemcpyDeviceToHost, queue.stream()));
  USOL_CUDA_CHECK(cudaStreamSynchronize(queue.stream()));
  check(info == 0 && found == count, ErrorKind::kUnsupported, "{}: cuSOLVER found {} of {} eigenpairs (info {})",
        queue.op(), found, count, info);
}

}  // namespace usol::cuda
