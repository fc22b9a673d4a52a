#pragma once
// USOL_CUDA_CHECK(call): throws Error when a call of the CUDA runtime or of a library on it failed, naming the
// expression, the place and the library's own text. Overloads of check_status for the libraries are in handles.h.

#include <cuda_runtime_api.h>

#include "usol/tensor/error.h"

namespace usol::cuda {

/// Throws Error: kOutOfMemory for cudaErrorMemoryAllocation, kUnsupported when no device answers, else kDevice.
void check_status(cudaError_t status, const char* expression, const char* file, int line);
/// The text of every failed call: "cuda: <expression> at <file>:<line>: <library> says <name>: <text>".
[[noreturn]] void fail_status(ErrorKind kind, const char* library, const char* name, const char* text,
                              const char* expression, const char* file, int line);
/// For destructors, which must not throw: writes the failure to stderr. Silent while the process unloads CUDA.
void log_status(cudaError_t status, const char* expression) noexcept;

/// True under USOL_CUDA_SYNC=1: every launch is followed by a wait, so that an error names the kernel that caused it.
bool sync_after_launch();
/// After a launch: throws Error naming `op` and the kernel if it failed; waits for it under USOL_CUDA_SYNC=1.
void check_launch(cudaError_t status, const char* op, const void* kernel, cudaStream_t stream);

/// Makes a device the calling thread's current one while alive.
class DeviceScope {
 public:
  explicit DeviceScope(int device_index);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int previous_ = 0, current_;
};

/// The calling thread's current stream on a device (tensor/stream.h).
cudaStream_t current_stream(int device_index);
/// Streaming multiprocessors of a device.
int multiprocessors(int device_index);

}  // namespace usol::cuda

#define USOL_CUDA_CHECK(expression) ::usol::cuda::check_status((expression), #expression, __FILE__, __LINE__)
