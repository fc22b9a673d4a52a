// Device count, streams, events and graphs of CUDA: what tensor/device_count.h and tensor/stream.h ask of it. Nothing
// here calls CUDA before a device is asked for, so the binary starts on machines without GPU or driver.

#include <cuda_runtime_api.h>

#include <map>
#include <mutex>

#include "usol/tensor/cuda/check.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/stream.h"

namespace usol::cuda {
namespace {

int count_devices() {
  static const int count = [] {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {
      cudaGetLastError();
      n = 0;
    }
    return n;
  }();
  return count;
}

void* create_stream(int device_index) {
  const DeviceScope scope(device_index);
  cudaStream_t stream = nullptr;
  USOL_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}
void destroy_stream(void* stream) noexcept {
  log_status(cudaStreamDestroy(static_cast<cudaStream_t>(stream)), "cudaStreamDestroy");
}
// Never destroyed: memory with static storage may be returned to it after other statics are gone.
void* default_stream(int device_index) {
  static std::mutex mutex;
  static auto& streams = *new std::map<int, void*>;
  const std::lock_guard lock(mutex);
  auto found = streams.find(device_index);
  if (found == streams.end()) found = streams.emplace(device_index, create_stream(device_index)).first;
  return found->second;
}
void synchronize_stream(void* stream) { USOL_CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream))); }

void* create_event(int device_index) {
  const DeviceScope scope(device_index);
  cudaEvent_t event = nullptr;
  USOL_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}
void destroy_event(void* event) noexcept {
  log_status(cudaEventDestroy(static_cast<cudaEvent_t>(event)), "cudaEventDestroy");
}
void record_event(void* event, void* stream) {
  USOL_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)));
}
void wait_event(void* event, void* stream) {
  USOL_CUDA_CHECK(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0));
}
void synchronize_event(void* event) { USOL_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event))); }

// Thread-local: other threads may go on allocating and waiting meanwhile. Memory of the stream-ordered pool that is
// taken and returned while recording becomes part of the graph.
void begin_recording(void* stream) {
  if (sync_after_launch())
    fail(ErrorKind::kUnsupported, "graph: USOL_CUDA_SYNC=1 waits after each launch, which cannot be recorded");
  USOL_CUDA_CHECK(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal));
}
void destroy_graph(void* graph) noexcept {
  if (graph != nullptr) log_status(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "cudaGraphExecDestroy");
}
void* end_recording(void* stream, int device_index) {
  const DeviceScope scope(device_index);
  cudaGraph_t recorded = nullptr;
  USOL_CUDA_CHECK(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &recorded));
  cudaGraphExec_t graph = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&graph, recorded, 0);
  log_status(cudaGraphDestroy(recorded), "cudaGraphDestroy");
  USOL_CUDA_CHECK(status);
  return graph;
}
void launch_graph(void* graph, void* stream) {
  USOL_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)));
}

constexpr StreamBackend kBackend{default_stream, create_stream, destroy_stream, synchronize_stream, create_event,
                                 destroy_event,  record_event,  wait_event,     synchronize_event,  begin_recording,
                                 end_recording,  launch_graph,  destroy_graph};

[[maybe_unused]] const bool registered = [] {
  register_device_count(DeviceType::kCuda, count_devices);
  register_stream_backend(DeviceType::kCuda, &kBackend);
  return true;
}();

}  // namespace

cudaStream_t current_stream(int device_index) {
  return static_cast<cudaStream_t>(Stream::current(Device::cuda(device_index)).handle());
}

}  // namespace usol::cuda
