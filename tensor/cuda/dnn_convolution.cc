#include "usol/tensor/cuda/dnn_convolution.h"

#include <array>
#include <map>

#include "usol/tensor/cuda/handles.h"
#include "usol/tensor/precision.h"

namespace usol::cuda {
namespace {

Shape channels_last(const Shape& s) { return {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]}; }
Shape map_of(const ConvolutionShape& s) { return {s.n, s.c, s.h, s.w}; }
Shape weight_of(const ConvolutionShape& s) { return {s.o, s.c, s.kh, s.kw}; }
Shape result_of(const ConvolutionShape& s) { return {s.n, s.o, s.out_h, s.out_w}; }

DnnDescriptor tensor(std::int64_t uid, DType dtype, const Shape& shape) {
  return dnn_tensor(uid, dtype, shape, channels_last(shape));
}

DnnDescriptor convolution_descriptor(const ConvolutionShape& s) {
  DnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const auto pair = [](const std::array<std::int64_t, 2>& values) {
    return std::vector<std::int64_t>(values.begin(), values.end());
  };
  convolution.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  convolution.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  convolution.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, pair(s.padding));
  convolution.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, pair(s.padding));
  convolution.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, pair(s.dilation));
  convolution.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, pair(s.stride));
  convolution.finalize();
  return convolution;
}

void set_factors(DnnDescriptor& operation, cudnnBackendAttributeName_t alpha, cudnnBackendAttributeName_t beta) {
  const float one = 1, zero = 0;
  operation.set(alpha, CUDNN_TYPE_FLOAT, 1, &one);
  operation.set(beta, CUDNN_TYPE_FLOAT, 1, &zero);
}

DnnDescriptor forward(const ConvolutionShape& s, const DnnDescriptor& result) {
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution_descriptor(s));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, tensor(kUidMap, s.dtype, map_of(s)));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, tensor(kUidWeight, s.dtype, weight_of(s)));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, result);
  set_factors(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
  operation.finalize();
  return operation;
}

DnnDescriptor pointwise(cudnnPointwiseMode_t mode, const DnnDescriptor& from, const DnnDescriptor* other,
                        const DnnDescriptor& to) {
  DnnDescriptor what(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  what.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  what.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  what.finalize();
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
  if (other != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *other);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
  operation.finalize();
  return operation;
}

// Queues the plan of the shape; false if cuDNN has none.
bool run(const Queue& queue, const ConvolutionShape& shape, const std::vector<std::pair<std::int64_t, void*>>& data) {
  for (const auto& [uid, address] : data)
    if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) return false;
  const bool tensor_cores = shape.dtype != DType::kF32 || tf32_allowed();
  Handles& handles = Handles::of(queue);
  // A plan is its handle's: with another, of another stream of this thread, it is not run.
  thread_local std::map<std::tuple<cudnnHandle_t, bool, ConvolutionShape>, DnnPlan> plans;
  constexpr std::size_t kMostPlans = 4096;  // images of many sizes make many; then it starts anew
  const std::tuple key{handles.dnn(), tensor_cores, shape};
  auto found = plans.find(key);
  if (found == plans.end()) {
    if (plans.size() >= kMostPlans) plans.clear();
    found = plans.emplace(key, DnnPlan::build({handles.dnn(), {}}, dnn_convolution_operations(shape), {tensor_cores}))
                .first;
  }
  const DnnPlan& plan = found->second;
  if (!plan) return false;
  plan.run(handles.dnn(), data, handles.workspace().reserve(plan.workspace_bytes(), queue.stream()));
  check_launch(cudaSuccess, queue.op(), nullptr, queue.stream());
  return true;
}

ConvolutionShape shape_of(ConvolutionPass pass, const Shape& x, const Shape& weight, const Shape& y, DType dtype,
                          const DnnConvolution& o) {
  return {pass,      dtype, x[0], x[1],     x[2],      x[3],       y[1],  weight[1],
          weight[2], y[2],  y[3], o.stride, o.padding, o.dilation, false, false};
}

bool taken(DType dtype, const DnnConvolution& options) { return dtype != DType::kF64 && options.groups == 1; }

}  // namespace

std::vector<DnnDescriptor> dnn_convolution_operations(const ConvolutionShape& s) {
  if (s.pass == ConvolutionPass::kGradInput) {
    DnnDescriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution_descriptor(s));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, tensor(kUidMap, s.dtype, map_of(s)));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, tensor(kUidWeight, s.dtype, weight_of(s)));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, tensor(kUidResult, s.dtype, result_of(s)));
    set_factors(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA);
    operation.finalize();
    return {operation};
  }
  if (s.pass == ConvolutionPass::kGradWeight) {
    DnnDescriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution_descriptor(s));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, tensor(kUidMap, s.dtype, map_of(s)));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, tensor(kUidWeight, s.dtype, weight_of(s)));
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, tensor(kUidResult, s.dtype, result_of(s)));
    set_factors(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA);
    operation.finalize();
    return {operation};
  }
  const Shape result = result_of(s);
  const DnnDescriptor out = tensor(kUidResult, s.dtype, result);
  std::int64_t next_uid = 10;
  const auto between = [&] { return dnn_virtual(next_uid++, DType::kF32, result, channels_last(result)); };
  DnnDescriptor last = s.bias || s.relu ? between() : out;
  std::vector<DnnDescriptor> operations{forward(s, last)};
  if (s.bias) {
    const DnnDescriptor bias = tensor(kUidBias, s.dtype, {1, s.o, 1, 1}), to = s.relu ? between() : out;
    operations.push_back(pointwise(CUDNN_POINTWISE_ADD, last, &bias, to));
    last = to;
  }
  if (s.relu) operations.push_back(pointwise(CUDNN_POINTWISE_RELU_FWD, last, nullptr, out));
  return operations;
}

bool dnn_convolution(const Queue& queue, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const DnnConvolution& options, bool relu, Tensor& out) {
  if (!taken(x.dtype(), options)) return false;
  ConvolutionShape shape =
      shape_of(ConvolutionPass::kForward, x.shape(), weight.shape(), out.shape(), x.dtype(), options);
  shape.bias = bias.defined();
  shape.relu = relu;
  std::vector<std::pair<std::int64_t, void*>> data{
      {kUidMap, x.raw()}, {kUidWeight, weight.raw()}, {kUidResult, out.raw()}};
  if (bias.defined()) data.emplace_back(kUidBias, bias.raw());
  out.storage()->bump_version();
  return run(queue, shape, data);
}

bool dnn_convolution_grad_input(const Queue& queue, const Tensor& grad, const Tensor& weight,
                                const DnnConvolution& options, Tensor& out) {
  if (!taken(grad.dtype(), options)) return false;
  out.storage()->bump_version();
  return run(queue,
             shape_of(ConvolutionPass::kGradInput, out.shape(), weight.shape(), grad.shape(), grad.dtype(), options),
             {{kUidMap, out.raw()}, {kUidWeight, weight.raw()}, {kUidResult, grad.raw()}});
}

bool dnn_convolution_grad_weight(const Queue& queue, const Tensor& x, const Tensor& grad, const DnnConvolution& options,
                                 Tensor& out) {
  if (!taken(x.dtype(), options)) return false;
  out.storage()->bump_version();
  return run(queue, shape_of(ConvolutionPass::kGradWeight, x.shape(), out.shape(), grad.shape(), x.dtype(), options),
             {{kUidMap, x.raw()}, {kUidWeight, out.raw()}, {kUidResult, grad.raw()}});
}

}  // namespace usol::cuda
