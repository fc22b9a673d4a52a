#include "usol/tensor/cuda/dnn_graph.h"

#include <optional>

#include "usol/tensor/cuda/handles.h"

namespace usol::cuda {

DnnDescriptor::DnnDescriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t handle = nullptr;
  USOL_CUDA_CHECK(cudnnBackendCreateDescriptor(type, &handle));
  handle_ = std::shared_ptr<void>(handle, [](void* h) { cudnnBackendDestroyDescriptor(h); });
}

void DnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                        const void* values) {
  USOL_CUDA_CHECK(cudnnBackendSetAttribute(get(), name, type, count, values));
}
void DnnDescriptor::set(cudnnBackendAttributeName_t name, const DnnDescriptor& value) {
  const cudnnBackendDescriptor_t handle = value.get();
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
}
void DnnDescriptor::set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
  set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
}
void DnnDescriptor::finalize() { USOL_CUDA_CHECK(cudnnBackendFinalize(get())); }

cudnnDataType_t dnn_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDNN_DATA_FLOAT;
    case DType::kF16:
      return CUDNN_DATA_HALF;
    case DType::kBF16:
      return CUDNN_DATA_BFLOAT16;
    case DType::kF64:
      return CUDNN_DATA_DOUBLE;
    default:
      fail(ErrorKind::kInvalidArgument, "cudnn: expected a floating dtype, got " + to_string(dtype));
  }
}

namespace {

DnnDescriptor make_tensor(std::int64_t uid, DType dtype, const Shape& shape, const Shape& strides,
                          std::int64_t alignment, bool is_virtual) {
  DnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = dnn_type(dtype);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<std::int64_t>(shape.begin(), shape.end()));
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<std::int64_t>(strides.begin(), strides.end()));
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  if (is_virtual) tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  tensor.finalize();
  return tensor;
}

}  // namespace

DnnDescriptor dnn_tensor(std::int64_t uid, DType dtype, const Shape& shape, const Shape& strides,
                         std::int64_t alignment) {
  return make_tensor(uid, dtype, shape, strides, alignment, false);
}

DnnDescriptor dnn_virtual(std::int64_t uid, DType dtype, const Shape& shape, const Shape& strides) {
  return make_tensor(uid, dtype, shape, strides, 16, true);
}

DnnDescriptor dnn_scalar(std::int64_t uid) {
  DnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const bool by_value = true;
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, {1, 1, 1, 1});
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, {1, 1, 1, 1});
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, static_cast<std::int64_t>(sizeof(float)));
  tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  tensor.finalize();
  return tensor;
}

namespace {

std::optional<DnnDescriptor> device_of(const DnnTarget& target) {
  if (target.handle != nullptr) return std::nullopt;
  DnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             static_cast<std::int64_t>(target.device_json.size()), target.device_json.data());
  device.finalize();
  return device;
}

bool allowed(const DnnDescriptor& configuration, const DnnPolicy& policy) {
  DnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  USOL_CUDA_CHECK(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle));
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = {};
  USOL_CUDA_CHECK(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                           CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes));
  for (std::int64_t i = 0; i < count; ++i) {
    if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC ||
        notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
      return false;
    if (!policy.tensor_cores &&
        (notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
         notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD))
      return false;
  }
  return true;
}

void add_configurations(const DnnDescriptor& graph, const std::optional<DnnDescriptor>& device,
                        cudnnBackendHeurMode_t mode, const DnnPolicy& policy, std::vector<DnnDescriptor>& out) {
  DnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (device) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device);
  if (cudnnBackendFinalize(heuristics.get()) != CUDNN_STATUS_SUCCESS) return;  // no engine for this graph
  std::int64_t count = 0;
  USOL_CUDA_CHECK(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<DnnDescriptor> found;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < count; ++i) {
    found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(found.back().get());
  }
  if (count > 0)
    USOL_CUDA_CHECK(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, handles.data()));
  for (std::int64_t i = 0; i < count; ++i)
    if (allowed(found[static_cast<std::size_t>(i)], policy)) out.push_back(found[static_cast<std::size_t>(i)]);
}

}  // namespace

std::vector<DnnDescriptor> DnnPlan::configurations(const DnnTarget& target,
                                                   const std::vector<DnnDescriptor>& operations,
                                                   const DnnPolicy& policy) {
  DnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const DnnDescriptor& operation : operations) handles.push_back(operation.get());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(handles.size()),
            handles.data());
  if (target.handle != nullptr) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  graph.finalize();
  const std::optional<DnnDescriptor> device = device_of(target);
  std::vector<DnnDescriptor> result;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
    add_configurations(graph, device, mode, policy, result);
  return result;
}

DnnPlan DnnPlan::build(const DnnTarget& target, const std::vector<DnnDescriptor>& operations, const DnnPolicy& policy) {
  const std::optional<DnnDescriptor> device = device_of(target);
  for (const DnnDescriptor& configuration : configurations(target, operations, policy)) {
    DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    if (device)
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *device);
    else
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
    if (cudnnBackendFinalize(plan.get()) != CUDNN_STATUS_SUCCESS) continue;  // the next may do
    std::int64_t bytes = 0, count = 0;
    USOL_CUDA_CHECK(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                                             &count, &bytes));
    DnnPlan result;
    result.plan_ = std::make_shared<DnnDescriptor>(plan);
    result.workspace_bytes_ = static_cast<std::size_t>(bytes);
    return result;
  }
  return {};
}

void DnnPlan::run(cudnnHandle_t handle, const std::vector<std::pair<std::int64_t, void*>>& data,
                  void* workspace) const {
  std::vector<std::int64_t> uids;
  std::vector<void*> pointers;
  for (const auto& [uid, pointer] : data) {
    uids.push_back(uid);
    pointers.push_back(pointer);
  }
  DnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(pointers.size()),
           pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  USOL_CUDA_CHECK(cudnnBackendExecute(handle, plan_->get(), pack.get()));
}

}  // namespace usol::cuda
