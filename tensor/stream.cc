#include "usol/tensor/stream.h"

#include <array>
#include <map>
#include <optional>
#include <utility>

#include "usol/tensor/check.h"

namespace usol {
namespace {

std::array<const StreamBackend*, kDeviceTypes> backends{};

const StreamBackend& backend(Device device) {
  const StreamBackend* found = backends[static_cast<std::size_t>(device.type)];
  check(found != nullptr, ErrorKind::kUnsupported, "stream: this binary has no support for {}", device);
  return *found;
}

std::optional<Stream>& scoped_stream(Device device) {
  thread_local std::map<std::pair<DeviceType, int>, std::optional<Stream>> streams;
  return streams[{device.type, device.index}];
}

}  // namespace

void register_stream_backend(DeviceType type, const StreamBackend* backend) {
  backends[static_cast<std::size_t>(type)] = backend;
}

Stream Stream::current(Device device) {
  if (device.is_cpu()) return Stream(device, nullptr);
  if (const auto& scoped = scoped_stream(device)) return *scoped;
  return Stream(device, std::shared_ptr<void>(backend(device).default_stream(device.index), [](void*) {}));
}

Stream Stream::create(Device device) {
  if (device.is_cpu()) return Stream(device, nullptr);
  const StreamBackend& b = backend(device);
  return Stream(device, std::shared_ptr<void>(b.create_stream(device.index), b.destroy_stream));
}

Stream Stream::of_this_thread(Device device) {
  // Made before the handles that are bound to its streams, and so gone after them.
  thread_local std::map<std::pair<DeviceType, int>, Stream> streams;
  const std::pair key{device.type, device.index};
  if (const auto found = streams.find(key); found != streams.end()) return found->second;
  return streams.emplace(key, create(device)).first->second;
}

void Stream::synchronize() const {
  if (!device_.is_cpu()) backend(device_).synchronize_stream(handle());
}

StreamScope::StreamScope(Stream stream) : previous_(Stream::current(stream.device())) {
  if (!stream.device().is_cpu()) scoped_stream(stream.device()) = std::move(stream);
}
StreamScope::~StreamScope() {
  if (!previous_.device().is_cpu()) scoped_stream(previous_.device()) = previous_;
}

std::shared_ptr<void> record_graph(const Stream& stream, const std::function<void()>& work) {
  const StreamBackend& b = backend(stream.device());
  const StreamScope scope(stream);
  b.begin_recording(stream.handle());
  try {
    work();
  } catch (...) {
    try {
      b.destroy_graph(b.end_recording(stream.handle(), stream.device().index));
    } catch (const Error&) {
      // What `work` threw says why.
    }
    throw;
  }
  return {b.end_recording(stream.handle(), stream.device().index), b.destroy_graph};
}

void launch_graph(const std::shared_ptr<void>& graph, const Stream& stream) {
  backend(stream.device()).launch_graph(graph.get(), stream.handle());
}

Event::Event(Device device) : device_(device) {
  if (device.is_cpu()) return;
  const StreamBackend& b = backend(device);
  handle_ = std::shared_ptr<void>(b.create_event(device.index), b.destroy_event);
}
void Event::record(const Stream& stream) {
  if (!device_.is_cpu()) backend(device_).record_event(handle_.get(), stream.handle());
}
void Event::wait(const Stream& stream) const {
  if (!device_.is_cpu()) backend(device_).wait_event(handle_.get(), stream.handle());
}
void Event::synchronize() const {
  if (!device_.is_cpu()) backend(device_).synchronize_event(handle_.get());
}

}  // namespace usol
