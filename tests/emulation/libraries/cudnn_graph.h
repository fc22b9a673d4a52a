#pragma once
// What a program has told cuDNN: each backend descriptor's attributes as they were set. The library holds and checks
// them too, but gives not all of them back (operations of a graph, pointwise ones, addresses).

#include <cudnn.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulation {

struct DnnRecord;
struct DnnAttribute {
  cudnnBackendAttributeType_t type;
  std::vector<unsigned char> bytes;
  std::vector<std::shared_ptr<const DnnRecord>> descriptors;  // for CUDNN_TYPE_BACKEND_DESCRIPTOR
};
struct DnnRecord {
  cudnnBackendDescriptorType_t type;
  std::map<cudnnBackendAttributeName_t, DnnAttribute> attributes = {};
  int engine = -1;  // of engines and their configurations

  bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<T> values(found->second.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), found->second.bytes.data(), values.size() * sizeof(T));
    return values;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name, T otherwise) const {
    const auto found = attributes.find(name);
    if (found != attributes.end() && found->second.bytes.size() >= sizeof(T))
      std::memcpy(&otherwise, found->second.bytes.data(), sizeof(T));
    return otherwise;
  }
  /// The descriptor under this name; null if none was set.
  std::shared_ptr<const DnnRecord> child(cudnnBackendAttributeName_t name) const {
    const auto found = attributes.find(name);
    return found == attributes.end() || found->second.descriptors.empty() ? nullptr : found->second.descriptors.front();
  }
};

/// How an engine of the emulated device computes.
enum class DnnPrecision { kExact, kTf32 };  // the second: what a tensor core makes of f32

/// What a graph does to its data.
struct DnnProgram {
  using Values = std::map<std::int64_t, std::vector<float>>;  // of tensors that exist only inside the graph, by uid

  std::string fault;  // empty if it may run
  std::vector<std::function<void(Values&)>> steps;
};
/// Reads a graph's operations; `data` has an address for each uid. Numbers that are given by value are read now, as
/// cuDNN does.
DnnProgram dnn_program(const DnnRecord& graph, const std::map<std::int64_t, void*>& data, DnnPrecision precision);

}  // namespace emulation
