#pragma once
// What one thread makes on a device when it is first needed, and threads with streams of their own then share: folded
// weights, tables. The lock around such a thing orders the threads; Ready orders their streams.

#include <initializer_list>
#include <optional>
#include <vector>

#include "usol/tensor/stream.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// The mark behind the work that makes a shared thing. It lies beside the thing, under the same lock.
class Ready {
 public:
  /// Nothing to wait for.
  Ready() = default;
  /// Marks what the calling thread's stream on `device` holds now, which is the work that makes the thing.
  explicit Ready(Device device);
  /// Before each use, with all tensors of the thing: what the calling thread's stream gets from now on runs behind the
  /// mark, and their memory is given to nobody else before it is done. Only the first use on each stream does anything,
  /// so that later ones may be recorded (tensor/graph.h).
  void use(std::initializer_list<Tensor> tensors);

 private:
  std::optional<Event> made_;
  std::vector<Stream> behind_;  // the maker's stream, and those that have waited
};

}  // namespace usol
