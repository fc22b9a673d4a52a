#pragma once
// Sums over ranks by a device's own library: NCCL, where the CUDA binary was built with it (train/nccl.cu).
// train/distributed.cc brings the ranks together.

#include <future>
#include <memory>
#include <string>

#include "usol/tensor/device.h"
#include "usol/tensor/tensor.h"

namespace usol::train {

/// A group of ranks with one device each. Every rank starts the same sums in the same order. Its end leaves the group;
/// while an exception is on its way it waits for nobody.
class DeviceSums {
 public:
  virtual ~DeviceSums() = default;
  /// OverlappingRanks::start_all_reduce_sum() of a dense f32 or f64 tensor on the device: on a stream of its own, after
  /// what the current stream holds now. Throws Error(kDevice) with the library's text, here or in get().
  virtual std::future<void> start(Tensor tensor) = 0;
};

struct DeviceSumsLibrary {
  /// "NCCL 2.28.9".
  std::string (*name)();
  /// Bytes that name a new group. One rank makes them and brings them to the others.
  std::string (*make_id)();
  /// Waits for all ranks of the group.
  std::unique_ptr<DeviceSums> (*join)(const std::string& id, int rank, int size, const Device& device);
};

/// The library of this binary; null if it was built without one.
const DeviceSumsLibrary* device_sums_library();
/// Called once at start-up by the library's file.
void set_device_sums_library(const DeviceSumsLibrary* library);

}  // namespace usol::train
