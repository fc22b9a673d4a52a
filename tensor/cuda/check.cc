#include "usol/tensor/cuda/check.h"

#include <cxxabi.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "usol/tensor/check.h"

namespace usol::cuda {
namespace {

// "tensor/cuda/allocator.cc" of a path that begins with the build machine's folders.
std::string_view inside_tree(std::string_view path) {
  for (const std::string_view room : {"/tensor/", "/ops/", "/maskcut/", "/models/", "/tests/"}) {
    const auto at = path.rfind(room);
    if (at != std::string_view::npos) return path.substr(at + 1);
  }
  return path;
}

ErrorKind kind_of(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return ErrorKind::kOutOfMemory;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
      return ErrorKind::kUnsupported;
    default:
      return ErrorKind::kDevice;
  }
}

std::string readable_name(const void* kernel) {
  const char* mangled = nullptr;
  if (kernel == nullptr || cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "a kernel";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : mangled;
}

}  // namespace

void fail_status(ErrorKind kind, const char* library, const char* name, const char* text, const char* expression,
                 const char* file, int line) {
  fail(kind,
       fmt::format("cuda: {} at {}:{}: {} says {}: {}", expression, inside_tree(file), line, library, name, text));
}

void check_status(cudaError_t status, const char* expression, const char* file, int line) {
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // the error is reported here and must not surface again at an unrelated launch
  fail_status(kind_of(status), "CUDA", cudaGetErrorName(status), cudaGetErrorString(status), expression, file, line);
}

void log_status(cudaError_t status, const char* expression) noexcept {
  if (status == cudaSuccess || status == cudaErrorCudartUnloading) return;
  std::fprintf(stderr, "usol: cuda: %s: %s\n", expression, cudaGetErrorString(status));
}

bool sync_after_launch() {
  static const bool on = [] {
    const char* value = std::getenv("USOL_CUDA_SYNC");
    return value != nullptr && std::string_view(value) != "0" && std::string_view(value) != "";
  }();
  return on;
}

void check_launch(cudaError_t status, const char* op, const void* kernel, cudaStream_t stream) {
  if (status == cudaSuccess) status = cudaGetLastError();
  if (status == cudaSuccess && sync_after_launch()) status = cudaStreamSynchronize(stream);
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();
  fail(kind_of(status), fmt::format("{}: {} failed: CUDA says {}: {}", op, readable_name(kernel),
                                    cudaGetErrorName(status), cudaGetErrorString(status)));
}

DeviceScope::DeviceScope(int device_index) : current_(device_index) {
  USOL_CUDA_CHECK(cudaGetDevice(&previous_));
  if (previous_ != current_) USOL_CUDA_CHECK(cudaSetDevice(current_));
}
DeviceScope::~DeviceScope() {
  if (previous_ != current_) log_status(cudaSetDevice(previous_), "cudaSetDevice");
}

int multiprocessors(int device_index) {
  constexpr int kCached = 64;
  static std::array<std::atomic<int>, kCached> counts{};  // every thread that gets here writes the same
  if (device_index < kCached && counts[device_index] > 0) return counts[device_index];
  int count = 0;
  USOL_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device_index));
  if (device_index < kCached) counts[device_index] = count;
  return count;
}

}  // namespace usol::cuda
