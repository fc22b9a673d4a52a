#pragma once
// A function of a tensor, recorded once for each shape and replayed with one call (a CUDA graph). A forward pass is
// hundreds of short kernels; where launching them takes the host longer than the device needs to run them, replaying
// lets the device set the pace.

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <thread>

#include "usol/tensor/stream.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// To be called by the thread that made it, on the stream that was current then: a recording holds library handles and
/// workspaces, and those belong to a thread. On the CPU it only calls the function.
class GraphedFunction {
 public:
  /// `function` gets a tensor on `device` and returns another, whose bits follow from the input's alone. It must only
  /// queue work: no transfers between host and device, no waiting. Of the tensors it makes only the result may live on,
  /// and no gradients may be recorded. Those it reads besides (weights) must keep their storage; values written into
  /// them count from the next call on. Beyond `most_shapes` shapes (each holds the memory of its intermediate results)
  /// it is called without recording.
  GraphedFunction(std::function<Tensor(const Tensor&)> function, Device device, std::size_t most_shapes = 4);
  ~GraphedFunction();
  GraphedFunction(const GraphedFunction&) = delete;
  GraphedFunction& operator=(const GraphedFunction&) = delete;

  /// function(input) for an input on any device, with the bits of calling it. The first call with a shape calls the
  /// function twice: once so that libraries make their plans and workspaces, once to record. Throws Error(kUnsupported)
  /// under USOL_CUDA_SYNC=1, which waits after each launch; what the function throws; and Error(kDevice) if it did what
  /// cannot be recorded.
  Tensor operator()(const Tensor& input);

 private:
  struct Recording;

  std::unique_ptr<Recording> record(const Tensor& input) const;

  std::function<Tensor(const Tensor&)> function_;
  Device device_;
  std::size_t most_shapes_;
  std::thread::id thread_;
  Stream stream_;
  std::list<std::unique_ptr<Recording>> recordings_;
};

}  // namespace usol
