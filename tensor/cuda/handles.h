#pragma once
// Handles of the CUDA libraries, one set per thread, device and stream, made when first asked for; and the checks of
// their calls (USOL_CUDA_CHECK takes their statuses too).

#include <cublasLt.h>
#include <cudnn.h>
#include <cusolverDn.h>

#include <cstddef>

#include "usol/tensor/cuda/check.h"
#include "usol/tensor/cuda/launch.h"

namespace usol::cuda {

void check_status(cublasStatus_t status, const char* expression, const char* file, int line);
void check_status(cudnnStatus_t status, const char* expression, const char* file, int line);
void check_status(cusolverStatus_t status, const char* expression, const char* file, int line);

/// Device memory outside the tensors' pool (it outlives every op, and must not count as theirs). Grows, never shrinks.
class Workspace {
 public:
  Workspace() = default;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  /// At least `bytes` bytes. What was there before is lost when it has to grow; work queued on `stream` is waited for.
  void* reserve(std::size_t bytes, cudaStream_t stream);

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

class Handles {
 public:
  /// The set of the calling thread for the queue's device and stream.
  static Handles& of(const Queue& queue);

  Handles(int device, cudaStream_t stream) : device_(device), stream_(stream) {}
  ~Handles();
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  cublasLtHandle_t blas();
  cudnnHandle_t dnn();
  cusolverDnHandle_t solver();
  Workspace& workspace() { return workspace_; }

 private:
  int device_;
  cudaStream_t stream_;
  cublasLtHandle_t blas_ = nullptr;
  cudnnHandle_t dnn_ = nullptr;
  cusolverDnHandle_t solver_ = nullptr;
  Workspace workspace_;
};

}  // namespace usol::cuda
