#include "usol/tensor/graph.h"

#include <algorithm>
#include <utility>

#include "usol/tensor/check.h"

namespace usol {

// Replays what reads `input` and writes `output`. It was recorded on a stream of its own, which no other block of
// memory belongs to, so that no block can be returned to it, and so recorded, by another thread; and whose library
// workspaces no other work uses.
struct GraphedFunction::Recording {
  Tensor input, output;
  Stream stream;
  std::shared_ptr<void> graph;
};

GraphedFunction::GraphedFunction(std::function<Tensor(const Tensor&)> function, Device device, std::size_t most_shapes)
    : function_(std::move(function)),
      device_(device),
      most_shapes_(most_shapes),
      thread_(std::this_thread::get_id()),
      stream_(Stream::current(device)) {}

// Work queued on the thread's stream may still read and write what the recordings hold.
GraphedFunction::~GraphedFunction() {
  try {
    if (!recordings_.empty()) stream_.synchronize();
  } catch (const Error&) {
    // The device is lost; whoever waits for a result is told.
  }
}

Tensor GraphedFunction::operator()(const Tensor& input) {
  check(input.defined(), "graph: expected an input");
  if (device_.is_cpu()) return function_(input.to(device_));
  check(std::this_thread::get_id() == thread_ && Stream::current(device_).handle() == stream_.handle(),
        "graph: called from another thread or on another stream than it was made for");
  const auto same = [&](const std::unique_ptr<Recording>& r) {
    return r->input.shape() == input.shape() && r->input.dtype() == input.dtype();
  };
  auto found = std::find_if(recordings_.begin(), recordings_.end(), same);
  if (found == recordings_.end()) {
    if (recordings_.size() >= most_shapes_) return function_(input.to(device_));
    found = recordings_.insert(found, record(input));
  }
  Recording& recording = **found;
  recording.input.copy_from(input);
  launch_graph(recording.graph, stream_);
  return recording.output.clone();
}

std::unique_ptr<GraphedFunction::Recording> GraphedFunction::record(const Tensor& input) const {
  stream_.synchronize();  // weights and whatever else the function reads are there for the recording's stream
  auto recording = std::make_unique<Recording>(Recording{{}, {}, Stream::create(device_), nullptr});
  const StreamScope scope(recording->stream);
  recording->input = Tensor::empty(input.shape(), input.dtype(), device_);
  recording->input.copy_from(input);
  recording->output = function_(recording->input).clone();
  recording->stream.synchronize();
  recording->graph = record_graph(recording->stream, [&] { recording->output.copy_from(function_(recording->input)); });
  return recording;
}

}  // namespace usol
