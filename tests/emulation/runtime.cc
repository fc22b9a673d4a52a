// The emulated CUDA runtime's memory, streams, graphs and launches. Everything is done when the call returns, except
// under stream capture, where it becomes part of the graph.
//
// Device memory is one range of addresses that is readable only while a kernel or a copy runs: host code that touches a
// CUDA tensor crashes here as it would on a real device. Fresh blocks are filled with 0xFF (NaN as a float).

#include <cuda_runtime.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/emulation/block.h"
#include "tests/emulation/stream_work.h"

using Work = std::function<cudaError_t()>;

struct EmulatedGraph {
  std::vector<Work> work;
  std::vector<void*> memory;  // allocated while capturing; freed with the graph
  bool invalid = false;       // something was asked for that cannot be captured
  int users = 1;
};
struct EmulatedStream {
  EmulatedGraph* capture = nullptr;
};
struct EmulatedEvent {};
struct EmulatedPool {};

namespace {

constexpr std::size_t kArenaBytes = std::size_t{4} << 30;
constexpr std::size_t kAlignment = 512;
constexpr int kMultiprocessors = 3;  // few, so that grid-stride loops go round more than once
constexpr std::size_t kSharedByDefault = 48 << 10, kMostShared = 227 << 10;

// The whole runtime is one critical section: kernels of several host threads run one after the other.
std::recursive_mutex mutex;
thread_local int current_device = 0;
cudaError_t last_error = cudaSuccess;
std::map<const void*, std::size_t> shared_limits;
unsigned launches = 0;

int device_total() {
  static const int count = [] {
    const char* value = std::getenv("USOL_EMULATED_DEVICES");
    return value ? std::atoi(value) : 1;
  }();
  return count;
}

cudaError_t fail(cudaError_t error) { return last_error = error; }

class Arena {
 public:
  Arena() {
    void* base = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) std::abort();
    base_ = static_cast<unsigned char*>(base);
    free_[0] = kArenaBytes;
  }
  void* take(std::size_t bytes) {
    const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
      if (hole->second < size) continue;
      const std::size_t at = hole->first, rest = hole->second - size;
      free_.erase(hole);
      if (rest > 0) free_[at + size] = rest;
      used_[at] = size;
      if (at + size > high_) high_ = at + size;
      const Open open(*this);
      std::memset(base_ + at, 0xFF, size);
      return base_ + at;
    }
    return nullptr;
  }
  bool give_back(void* data) {
    const auto found = used_.find(static_cast<std::size_t>(static_cast<unsigned char*>(data) - base_));
    if (found == used_.end()) return false;
    auto here = free_.emplace(found->first, found->second).first;
    used_.erase(found);
    if (const auto next = std::next(here); next != free_.end() && here->first + here->second == next->first) {
      here->second += next->second;
      free_.erase(next);
    }
    if (here != free_.begin()) {
      const auto before = std::prev(here);
      if (before->first + before->second == here->first) {
        before->second += here->second;
        free_.erase(here);
      }
    }
    return true;
  }
  bool holds(const void* p) const {
    const auto* byte = static_cast<const unsigned char*>(p);
    return byte >= base_ && byte < base_ + kArenaBytes;
  }

  // Makes the memory that was ever used accessible while alive.
  class Open {
   public:
    explicit Open(Arena& arena) : arena_(arena) {
      if (arena_.opened_++ == 0) arena_.protect(PROT_READ | PROT_WRITE);
    }
    ~Open() {
      if (--arena_.opened_ == 0) arena_.protect(PROT_NONE);
    }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Arena& arena_;
  };

 private:
  void protect(int access) {
    if (high_ > 0 && mprotect(base_, (high_ + 4095) / 4096 * 4096, access) != 0) std::abort();
  }

  unsigned char* base_;
  std::map<std::size_t, std::size_t> free_, used_;  // offset -> bytes
  std::size_t high_ = 0;
  int opened_ = 0;
};

Arena& arena() {
  static Arena& instance = *new Arena;
  return instance;
}

// What a stream under capture refuses also spoils the capture.
cudaError_t refuse(EmulatedGraph* capture) {
  capture->invalid = true;
  return fail(cudaErrorStreamCaptureUnsupported);
}

cudaError_t run_or_capture(cudaStream_t stream, Work work) {
  const std::lock_guard lock(mutex);
  if (stream->capture != nullptr) {
    stream->capture->work.push_back(std::move(work));
    return cudaSuccess;
  }
  const Arena::Open open(arena());
  const cudaError_t status = work();
  return status == cudaSuccess ? status : fail(status);
}

void release(EmulatedGraph* graph) {
  if (--graph->users > 0) return;
  for (void* data : graph->memory) arena().give_back(data);
  delete graph;
}

}  // namespace

namespace emulation {

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  const std::lock_guard lock(mutex);
  const unsigned threads = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  const auto limit = shared_limits.contains(kernel) ? shared_limits[kernel] : kSharedByDefault;
  if (config.stream == nullptr || threads == 0 || threads > 1024 || config.blockDim.z > 64 || config.gridDim.x == 0 ||
      config.gridDim.y == 0 || config.gridDim.z == 0 || config.gridDim.y > 65535 || config.gridDim.z > 65535 ||
      config.dynamicSmemBytes > limit)
    return fail(cudaErrorInvalidConfiguration);
  return run_or_capture(config.stream, [config, thread] {
    blockDim = config.blockDim;
    gridDim = config.gridDim;
    const unsigned order = ++launches * 2654435761u;
    const std::uint64_t blocks = std::uint64_t{gridDim.x} * gridDim.y * gridDim.z;
    for (std::uint64_t b = 0; b < blocks; ++b) {
      const std::uint64_t i = (order & 1u) != 0 ? blocks - 1 - b : b;
      blockIdx = {static_cast<unsigned>(i % gridDim.x), static_cast<unsigned>(i / gridDim.x % gridDim.y),
                  static_cast<unsigned>(i / gridDim.x / gridDim.y)};
      if (!run_block(thread, config.dynamicSmemBytes, order >> 8)) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
  });
}

void submit(cudaStream_t stream, std::function<void()> work) {
  run_or_capture(stream, [work = std::move(work)] {
    work();
    return cudaSuccess;
  });
}

}  // namespace emulation

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory (emulated)";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument (emulated)";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal (emulated)";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected (emulated)";
    case cudaErrorLaunchFailure:
      return "threads wait for others that never come (emulated)";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing (emulated)";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture (emulated)";
    default:
      return "error (emulated)";
  }
}
cudaError_t cudaGetLastError() {
  const std::lock_guard lock(mutex);
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_total();
  return *count > 0 ? cudaSuccess : fail(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_total()) return fail(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = kMultiprocessors;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  return stream->capture == nullptr ? cudaSuccess : refuse(stream->capture);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static EmulatedPool instance;
  *pool = &instance;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }
cudaError_t cudaMallocAsync(void** data, std::size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  *data = arena().take(bytes);
  if (*data == nullptr) return fail(cudaErrorMemoryAllocation);
  if (stream->capture != nullptr) stream->capture->memory.push_back(*data);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (EmulatedGraph* capture = stream->capture) {  // stays the graph's; another block would be returned at each launch
    const auto& own = capture->memory;
    return std::find(own.begin(), own.end(), data) != own.end() ? cudaSuccess : refuse(capture);
  }
  return arena().give_back(data) ? cudaSuccess : fail(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  *data = std::malloc(bytes);
  return *data != nullptr ? cudaSuccess : fail(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* dst, const void* src, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to = arena().holds(dst), from = arena().holds(src);
  if (to != (kind != cudaMemcpyDeviceToHost) || from != (kind != cudaMemcpyHostToDevice))
    return fail(cudaErrorInvalidValue);
  return run_or_capture(stream, [=] {
    std::memmove(dst, src, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  if (!arena().holds(data)) return fail(cudaErrorInvalidValue);
  return run_or_capture(stream, [=] {
    std::memset(data, value, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  if (!arena().holds(data)) return fail(cudaErrorInvalidValue);
  attributes->device = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  if (stream->capture != nullptr) return fail(cudaErrorInvalidValue);
  stream->capture = new EmulatedGraph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex);
  if (stream->capture == nullptr) return fail(cudaErrorInvalidValue);
  *graph = std::exchange(stream->capture, nullptr);
  if (!(*graph)->invalid) return cudaSuccess;
  release(std::exchange(*graph, nullptr));
  return fail(cudaErrorStreamCaptureInvalidated);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ++graph->users;
  *exec = graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return run_or_capture(stream, [exec] {
    for (const Work& work : exec->work)
      if (const cudaError_t status = work(); status != cudaSuccess) return status;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::lock_guard lock(mutex);
  release(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  const std::lock_guard lock(mutex);
  if (value < 0 || static_cast<std::size_t>(value) > kMostShared) return fail(cudaErrorInvalidValue);
  shared_limits[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaFuncGetName(const char** name, const void*) {
  *name = nullptr;
  return cudaErrorInvalidValue;
}
