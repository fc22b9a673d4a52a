// cuDNN for the emulated device. The library itself checks tensors, operations and graphs as they are finalised, which
// needs no device; what was set is kept here and computed in plain loops when a plan is executed. The engines are of
// the emulation: those that a program must not choose come first. The linker puts these functions in the place of the
// library's (--wrap).
// Source: NVIDIA cuDNN 9 backend API reference.

#include <cudnn.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <utility>

#include "tests/emulation/libraries/cudnn_graph.h"
#include "tests/emulation/libraries/libraries.h"
#include "tests/emulation/libraries/operand.h"
#include "tests/emulation/libraries/workspace.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

extern "C" {
cudnnStatus_t __real_cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                  cudnnBackendDescriptor_t* descriptor);
cudnnStatus_t __real_cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor);
cudnnStatus_t __real_cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
cudnnStatus_t __real_cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor);
}

namespace {

using emulation::Cudnn;
using emulation::DnnPrecision;
using emulation::DnnRecord;

struct Engine {
  std::vector<cudnnBackendNumericalNote_t> notes;
  bool can_be_planned = true;
  bool may_run = true;
  DnnPrecision precision = DnnPrecision::kExact;
};
// The first of two lists is what heuristics give, the second what they fall back to.
const std::vector<Engine>& engines() {
  static const std::vector<Engine> all{
      {{CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, true, false},
      {{CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}, true, false},
      {{CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, true, true, DnnPrecision::kTf32},
      {{CUDNN_NUMERICAL_NOTE_WINOGRAD}, true, true, DnnPrecision::kTf32},
      {{CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}, true, true, DnnPrecision::kTf32},
      {{}, false},
      {{}},
  };
  return all;
}
constexpr int kFirstFallback = 5;

std::mutex mutex;
std::map<cudnnBackendDescriptor_t, std::shared_ptr<DnnRecord>> records;
std::atomic<int> runs = 0;

Cudnn& takes() {
  static Cudnn value = [] {
    const char* text = std::getenv("USOL_EMULATED_CUDNN");
    const std::string_view word = text == nullptr ? "none" : text;
    return word == "all" ? Cudnn::kAll : word == "single" ? Cudnn::kSingle : Cudnn::kNone;
  }();
  return value;
}

std::shared_ptr<DnnRecord> record_of(cudnnBackendDescriptor_t descriptor) {
  const std::lock_guard lock(mutex);
  const auto found = records.find(descriptor);
  return found == records.end() ? nullptr : found->second;
}

// Those the library could not finalise without a device.
bool is_ours(cudnnBackendDescriptorType_t type) {
  return type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR || type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR ||
         type == CUDNN_BACKEND_ENGINE_DESCRIPTOR || type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
}

std::size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_CHAR:
    case CUDNN_TYPE_BOOLEAN:
      return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
      return 8;
    default:
      return 4;
  }
}

cudnnStatus_t refused(const std::string& fault) {
  emulation::report("cuDNN", fault);
  return CUDNN_STATUS_BAD_PARAM;
}

// The configuration behind a plan; null if there is none.
std::shared_ptr<const DnnRecord> configuration_of(const DnnRecord& plan) {
  return plan.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
}

// Odd, so that a workspace of one byte too few is found.
std::int64_t workspace_of(int engine) { return 4096 * (1 + engine % 3) + 1; }

cudnnStatus_t finalize_ours(const DnnRecord& record) {
  if (record.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
    const auto graph = record.child(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (graph == nullptr || !record.has(CUDNN_ATTR_ENGINEHEUR_MODE)) return refused("heuristics without graph or mode");
    const std::size_t operations = graph->attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).descriptors.size();
    const bool taken = takes() == Cudnn::kAll || (takes() == Cudnn::kSingle && operations == 1);
    return taken ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
  }
  if (record.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) return CUDNN_STATUS_SUCCESS;
  const auto configuration = configuration_of(record);
  if (configuration == nullptr || configuration->engine < 0) return refused("a plan without an engine's configuration");
  if (!record.has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE)) return refused("a plan without a handle");
  return engines()[configuration->engine].can_be_planned ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

// Results of heuristics: configurations of the engines, for the graph.
void give_configurations(const DnnRecord& heuristics, std::int64_t wanted, std::int64_t* count, void* values) {
  const auto mode = heuristics.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A);
  const int first = mode == CUDNN_HEUR_MODE_FALLBACK ? kFirstFallback : 0,
            last = mode == CUDNN_HEUR_MODE_FALLBACK ? static_cast<int>(engines().size()) : kFirstFallback;
  *count = last - first;
  for (int i = first; i < last && i - first < wanted; ++i) {
    const auto configuration = record_of(static_cast<cudnnBackendDescriptor_t*>(values)[i - first]);
    configuration->engine = i;
    configuration->attributes[CUDNN_ATTR_ENGINE_OPERATION_GRAPH] =
        heuristics.attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  }
}

cudnnStatus_t get_ours(const DnnRecord& record, cudnnBackendAttributeName_t name, std::int64_t wanted,
                       std::int64_t* count, void* values) {
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
      give_configurations(record, wanted, count, values);
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
      *count = 1;
      record_of(*static_cast<cudnnBackendDescriptor_t*>(values))->engine = record.engine;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: {
      const auto& notes = engines()[record.engine].notes;
      *count = static_cast<std::int64_t>(notes.size());
      for (std::int64_t i = 0; i < *count && i < wanted; ++i)
        static_cast<cudnnBackendNumericalNote_t*>(values)[i] = notes[i];
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      *count = 1;
      *static_cast<std::int64_t*>(values) = workspace_of(configuration_of(record)->engine);
      return CUDNN_STATUS_SUCCESS;
    default:
      return refused("an attribute that is not answered");
  }
}

}  // namespace

namespace emulation {

void set_cudnn(Cudnn value) { takes() = value; }
Cudnn cudnn() { return takes(); }
int cudnn_runs() { return runs; }

}  // namespace emulation

extern "C" {

cudnnStatus_t __wrap_cudnnCreate(cudnnHandle_t* handle) {
  *handle = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t __wrap_cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t __wrap_cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t __wrap_cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                  cudnnBackendDescriptor_t* descriptor) {
  const cudnnStatus_t status = __real_cudnnBackendCreateDescriptor(type, descriptor);
  const std::lock_guard lock(mutex);
  if (status == CUDNN_STATUS_SUCCESS) records[*descriptor] = std::make_shared<DnnRecord>(DnnRecord{type});
  return status;
}
cudnnStatus_t __wrap_cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  {
    const std::lock_guard lock(mutex);
    records.erase(descriptor);
  }
  return __real_cudnnBackendDestroyDescriptor(descriptor);
}

cudnnStatus_t __wrap_cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, std::int64_t count,
                                              const void* values) {
  const auto record = record_of(descriptor);
  if (record == nullptr) return refused("no such descriptor");
  emulation::DnnAttribute attribute{type, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (std::int64_t i = 0; i < count; ++i)
      attribute.descriptors.push_back(record_of(static_cast<const cudnnBackendDescriptor_t*>(values)[i]));
  } else {
    const auto* bytes = static_cast<const unsigned char*>(values);
    attribute.bytes.assign(bytes, bytes + static_cast<std::size_t>(count) * size_of(type));
  }
  record->attributes[name] = std::move(attribute);
  // A handle of the emulation says nothing to the library.
  if (is_ours(record->type) || type == CUDNN_TYPE_HANDLE) return CUDNN_STATUS_SUCCESS;
  return __real_cudnnBackendSetAttribute(descriptor, name, type, count, values);
}

cudnnStatus_t __wrap_cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  const auto record = record_of(descriptor);
  if (record == nullptr) return refused("no such descriptor");
  return is_ours(record->type) ? finalize_ours(*record) : __real_cudnnBackendFinalize(descriptor);
}

cudnnStatus_t __wrap_cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t, std::int64_t wanted, std::int64_t* count,
                                              void* values) {
  const auto record = record_of(descriptor);
  if (record == nullptr || !is_ours(record->type)) return refused("a descriptor that nothing is read of");
  return get_ours(*record, name, wanted, count, values);
}

cudnnStatus_t __wrap_cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                         cudnnBackendDescriptor_t pack) {
  const auto plan_record = record_of(plan), pack_record = record_of(pack);
  if (plan_record == nullptr || pack_record == nullptr) return refused("no such plan or data");
  const auto configuration = configuration_of(*plan_record);
  const Engine& engine = engines()[configuration->engine];
  if (!engine.may_run) return refused("this engine should not have been chosen");
  if (plan_record->one<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, nullptr) != handle)
    return refused("the plan was made for another handle");
  const auto uids = pack_record->all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto addresses = pack_record->all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  if (uids.size() != addresses.size()) return refused("not one address for each tensor");
  std::map<std::int64_t, void*> data;
  for (std::size_t i = 0; i < uids.size(); ++i) data[uids[i]] = addresses[i];
  const auto graph = configuration->child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
  const emulation::DnnProgram program = emulation::dnn_program(*graph, data, engine.precision);
  if (!program.fault.empty()) return refused(program.fault);
  const auto bytes = static_cast<std::size_t>(workspace_of(configuration->engine));
  const emulation::LibraryWorkspace work{pack_record->one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr), bytes,
                                         bytes};
  if (const std::string fault = work.fault(); !fault.empty()) return refused(fault);
  ++runs;
  emulation::submit(handle->stream, [steps = program.steps, work] {
    if (const cudaError_t status = work.poison(); status != cudaSuccess) return status;
    emulation::DnnProgram::Values inside;
    for (const auto& step : steps) step(inside);
    return cudaSuccess;
  });
  return CUDNN_STATUS_SUCCESS;
}
}
