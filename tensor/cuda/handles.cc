#include "usol/tensor/cuda/handles.h"

#include <cstdio>
#include <map>
#include <memory>
#include <utility>

namespace usol::cuda {
namespace {

const char* name_of(cusolverStatus_t status) {
  switch (status) {
    case CUSOLVER_STATUS_NOT_INITIALIZED:
      return "CUSOLVER_STATUS_NOT_INITIALIZED";
    case CUSOLVER_STATUS_ALLOC_FAILED:
      return "CUSOLVER_STATUS_ALLOC_FAILED";
    case CUSOLVER_STATUS_INVALID_VALUE:
      return "CUSOLVER_STATUS_INVALID_VALUE";
    case CUSOLVER_STATUS_ARCH_MISMATCH:
      return "CUSOLVER_STATUS_ARCH_MISMATCH";
    case CUSOLVER_STATUS_EXECUTION_FAILED:
      return "CUSOLVER_STATUS_EXECUTION_FAILED";
    case CUSOLVER_STATUS_INTERNAL_ERROR:
      return "CUSOLVER_STATUS_INTERNAL_ERROR";
    case CUSOLVER_STATUS_NOT_SUPPORTED:
      return "CUSOLVER_STATUS_NOT_SUPPORTED";
    default:
      return "a cuSOLVER status";
  }
}

}  // namespace

void check_status(cublasStatus_t status, const char* expression, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  const ErrorKind kind = status == CUBLAS_STATUS_ALLOC_FAILED    ? ErrorKind::kOutOfMemory
                         : status == CUBLAS_STATUS_NOT_SUPPORTED ? ErrorKind::kUnsupported
                                                                 : ErrorKind::kDevice;
  fail_status(kind, "cuBLAS", cublasLtGetStatusName(status), cublasLtGetStatusString(status), expression, file, line);
}

void check_status(cudnnStatus_t status, const char* expression, const char* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  char text[512] = "";
  cudnnGetLastErrorString(text, sizeof(text));
  const bool unsupported = status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR;
  fail_status(unsupported ? ErrorKind::kUnsupported : ErrorKind::kDevice, "cuDNN", cudnnGetErrorString(status), text,
              expression, file, line);
}

void check_status(cusolverStatus_t status, const char* expression, const char* file, int line) {
  if (status == CUSOLVER_STATUS_SUCCESS) [[likely]]
    return;
  fail_status(ErrorKind::kDevice, "cuSOLVER", name_of(status), "see its manual", expression, file, line);
}

Workspace::~Workspace() {
  if (data_ != nullptr) log_status(cudaFree(data_), "cudaFree");
}

void* Workspace::reserve(std::size_t bytes, cudaStream_t stream) {
  if (bytes <= bytes_) return data_;
  if (data_ != nullptr) {
    USOL_CUDA_CHECK(cudaStreamSynchronize(stream));
    USOL_CUDA_CHECK(cudaFree(std::exchange(data_, nullptr)));
  }
  bytes_ = 0;
  USOL_CUDA_CHECK(cudaMalloc(&data_, bytes));
  bytes_ = bytes;
  return data_;
}

Handles& Handles::of(const Queue& queue) {
  thread_local std::map<std::pair<int, cudaStream_t>, std::unique_ptr<Handles>> sets;
  std::unique_ptr<Handles>& set = sets[{queue.device(), queue.stream()}];
  if (!set) set = std::make_unique<Handles>(queue.device(), queue.stream());
  return *set;
}

Handles::~Handles() {
  const auto log = [](bool failed, const char* what) {
    if (failed) std::fprintf(stderr, "usol: cuda: %s failed\n", what);
  };
  int device = 0;  // the calling thread is ending, so its current device need not be put back
  if (cudaGetDevice(&device) != cudaSuccess || (device != device_ && cudaSetDevice(device_) != cudaSuccess)) return;
  if (blas_ != nullptr) log(cublasLtDestroy(blas_) != CUBLAS_STATUS_SUCCESS, "cublasLtDestroy");
  if (dnn_ != nullptr) log(cudnnDestroy(dnn_) != CUDNN_STATUS_SUCCESS, "cudnnDestroy");
  if (solver_ != nullptr) log(cusolverDnDestroy(solver_) != CUSOLVER_STATUS_SUCCESS, "cusolverDnDestroy");
}

cublasLtHandle_t Handles::blas() {
  if (blas_ == nullptr) USOL_CUDA_CHECK(cublasLtCreate(&blas_));
  return blas_;
}

cudnnHandle_t Handles::dnn() {
  if (dnn_ == nullptr) {
    USOL_CUDA_CHECK(cudnnCreate(&dnn_));
    USOL_CUDA_CHECK(cudnnSetStream(dnn_, stream_));
  }
  return dnn_;
}

cusolverDnHandle_t Handles::solver() {
  if (solver_ == nullptr) {
    USOL_CUDA_CHECK(cusolverDnCreate(&solver_));
    USOL_CUDA_CHECK(cusolverDnSetStream(solver_, stream_));
  }
  return solver_;
}

}  // namespace usol::cuda
