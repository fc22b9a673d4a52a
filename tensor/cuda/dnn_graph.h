#pragma once
// cuDNN's backend graph API, as far as operations here need it: descriptors, small graphs, plans chosen by cuDNN's
// heuristics. Choices depend on shapes, dtypes and the device model, never on timing.
// Source: NVIDIA cuDNN 9 backend API reference.

#include <cudnn.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "usol/tensor/dtype.h"
#include "usol/tensor/shape.h"

namespace usol::cuda {

/// A backend descriptor, destroyed with its owner.
class DnnDescriptor {
 public:
  explicit DnnDescriptor(cudnnBackendDescriptorType_t type);
  cudnnBackendDescriptor_t get() const { return handle_.get(); }
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
  void set(cudnnBackendAttributeName_t name, const DnnDescriptor& value);
  void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values);
  void finalize();

 private:
  std::shared_ptr<void> handle_;
};

cudnnDataType_t dnn_type(DType dtype);

/// A tensor of a graph; `uid` names it when the plan is run. Alignment in bytes.
DnnDescriptor dnn_tensor(std::int64_t uid, DType dtype, const Shape& shape, const Shape& strides,
                         std::int64_t alignment = 16);
/// A tensor that lives only inside a graph, between two of its operations.
DnnDescriptor dnn_virtual(std::int64_t uid, DType dtype, const Shape& shape, const Shape& strides);
/// An f32 number read from the host when the plan is run.
DnnDescriptor dnn_scalar(std::int64_t uid);

/// For which device plans are made: that of a handle, or one described in JSON (the tests' way, without a GPU).
struct DnnTarget {
  cudnnHandle_t handle = nullptr;
  std::string device_json;
};

/// Which engines a plan may use. All must be deterministic.
struct DnnPolicy {
  bool tensor_cores = true;  // false for f32 without TF32: they would round the inputs (and no Winograd either)
};

class DnnPlan {
 public:
  /// Engine configurations of the graph of these operations, best first, those the policy excludes left out. Empty if
  /// cuDNN cannot do them on the target.
  static std::vector<DnnDescriptor> configurations(const DnnTarget& target,
                                                   const std::vector<DnnDescriptor>& operations,
                                                   const DnnPolicy& policy);
  /// A plan of the first configuration that can be finalised, or an empty plan if there is none.
  static DnnPlan build(const DnnTarget& target, const std::vector<DnnDescriptor>& operations, const DnnPolicy& policy);

  explicit operator bool() const { return plan_ != nullptr; }
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// Queues the plan on the handle's stream. `data` pairs uids with addresses (of host floats for dnn_scalar).
  void run(cudnnHandle_t handle, const std::vector<std::pair<std::int64_t, void*>>& data, void* workspace) const;

 private:
  std::shared_ptr<DnnDescriptor> plan_;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace usol::cuda
