// cuSOLVER's eigenproblem for the emulated device, by Jacobi rotations.
// Source: NVIDIA cuSOLVER 12 manual, cusolverDn<t>syevdx().

#include <cusolverDn.h>

#include <algorithm>
#include <vector>

#include "tests/emulation/jacobi.h"
#include "tests/emulation/libraries/operand.h"
#include "tests/emulation/libraries/workspace.h"

struct cusolverDnContext {
  cudaStream_t stream = nullptr;
};

namespace {

int doubles_for(int n) { return 3 * n + 1; }

bool taken(cusolverEigMode_t mode, cusolverEigRange_t range, int n, int leading, int first, int last) {
  return mode == CUSOLVER_EIG_MODE_VECTOR && range == CUSOLVER_EIG_RANGE_I && n > 0 && leading >= n && first >= 1 &&
         first <= last && last <= n;
}

}  // namespace

extern "C" {

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  *handle = new cusolverDnContext;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDsyevdx_bufferSize(cusolverDnHandle_t, cusolverEigMode_t mode, cusolverEigRange_t range,
                                              cublasFillMode_t, int n, const double*, int leading, double, double,
                                              int first, int last, int*, const double*, int* doubles) {
  if (!taken(mode, range, n, leading, first, last)) return CUSOLVER_STATUS_INVALID_VALUE;
  *doubles = doubles_for(n);
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDsyevdx(cusolverDnHandle_t handle, cusolverEigMode_t mode, cusolverEigRange_t range,
                                   cublasFillMode_t triangle, int n, double* a, int leading, double, double, int first,
                                   int last, int* found, double* values, double* work, int doubles, int* info) {
  if (!taken(mode, range, n, leading, first, last) || doubles < doubles_for(n)) return CUSOLVER_STATUS_INVALID_VALUE;
  const emulation::LibraryWorkspace space{work, static_cast<std::size_t>(doubles) * sizeof(double),
                                          static_cast<std::size_t>(doubles_for(n)) * sizeof(double)};
  using usol::DType;
  const std::string fault = emulation::fault_of({{"values", values, DType::kF64, {n}, {1}},
                                                 {"info", info, DType::kF32, {1}, {1}},
                                                 {"A", a, DType::kF64, {n, n}, {leading, 1}}});
  if (!fault.empty() || !space.fault().empty()) {
    emulation::report("cusolverDnDsyevdx", fault + space.fault());
    return CUSOLVER_STATUS_INVALID_VALUE;
  }
  emulation::submit(handle->stream, [=] {
    if (const cudaError_t status = space.poison(); status != cudaSuccess) return status;
    std::vector<double> full(static_cast<std::size_t>(n) * n);
    for (int column = 0; column < n; ++column)
      for (int row = column; row < n; ++row)  // of the one triangle alone
        full[row * n + column] = full[column * n + row] = triangle == CUBLAS_FILL_MODE_LOWER
                                                              ? a[row + std::int64_t{leading} * column]
                                                              : a[column + std::int64_t{leading} * row];
    const emulation::Eigenpairs pairs = emulation::eigenpairs(std::move(full), n);
    std::fill_n(values, n, 0.0);
    for (int k = 0; k <= last - first; ++k) {
      values[k] = pairs.values[first - 1 + k];
      std::copy_n(pairs.vectors.data() + std::int64_t{n} * (first - 1 + k), n, a + std::int64_t{leading} * k);
    }
    *found = last - first + 1;
    *info = 0;
    return cudaSuccess;
  });
  return CUSOLVER_STATUS_SUCCESS;
}
}
