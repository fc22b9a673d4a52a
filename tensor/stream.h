#pragma once
// Streams: queues of work on a device. On the CPU work is done when a call returns, so its streams do nothing.
//
// Every kernel, copy and allocation goes to the calling thread's current stream. That is one default stream per device,
// shared by all threads, so tensors may be handed between threads freely; a thread that wants its work to overlap with
// others' makes its own current with StreamScope, and then orders what it hands over with Event.

#include <functional>
#include <memory>

#include "usol/tensor/device.h"

namespace usol {

/// What a device type provides to run streams; registered by tensor/cuda. Handles are opaque.
struct StreamBackend {
  void* (*default_stream)(int device_index);
  void* (*create_stream)(int device_index);
  void (*destroy_stream)(void* stream) noexcept;
  void (*synchronize_stream)(void* stream);
  void* (*create_event)(int device_index);
  void (*destroy_event)(void* event) noexcept;
  void (*record_event)(void* event, void* stream);
  void (*wait_event)(void* event, void* stream);
  void (*synchronize_event)(void* event);
  void (*begin_recording)(void* stream);
  void* (*end_recording)(void* stream, int device_index);  // throws if what was queued cannot be recorded
  void (*launch_graph)(void* graph, void* stream);
  void (*destroy_graph)(void* graph) noexcept;
};
/// Called once at start-up by tensor/cuda.
void register_stream_backend(DeviceType type, const StreamBackend* backend);

class Stream {
 public:
  /// The stream this thread's work on `device` goes to.
  static Stream current(Device device);
  /// A stream whose work may overlap with other streams'. Throws Error when the device does not answer.
  static Stream create(Device device);
  /// The calling thread's own stream of the device, made at its first call: as create(), and there until the thread has
  /// ended and given back what its libraries (cuBLAS, cuDNN) had bound to the stream.
  static Stream of_this_thread(Device device);

  Device device() const { return device_; }
  /// The library's own handle (a cudaStream_t); null on the CPU.
  void* handle() const { return handle_.get(); }
  /// Waits until all work queued so far is done. Throws Error(kDevice) if any of it failed.
  void synchronize() const;

 private:
  Stream(Device device, std::shared_ptr<void> handle) : device_(device), handle_(std::move(handle)) {}
  Device device_;
  std::shared_ptr<void> handle_;
};

/// Makes `stream` the calling thread's current stream of its device while alive.
class StreamScope {
 public:
  explicit StreamScope(Stream stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream previous_;
};

/// Records what `work` queues, without doing it; `stream` is the current one meanwhile. For tensor/graph.h, which is
/// what callers use.
std::shared_ptr<void> record_graph(const Stream& stream, const std::function<void()>& work);
/// Queues everything that was recorded.
void launch_graph(const std::shared_ptr<void>& graph, const Stream& stream);

/// A point in a stream's work that the host or another stream can wait for.
class Event {
 public:
  explicit Event(Device device);
  /// Marks the end of what `stream` holds now.
  void record(const Stream& stream);
  /// Work queued on `stream` from now on waits for the mark.
  void wait(const Stream& stream) const;
  /// Blocks the host until the mark is reached.
  void synchronize() const;

 private:
  Device device_;
  std::shared_ptr<void> handle_;
};

}  // namespace usol
