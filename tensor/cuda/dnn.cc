#include "usol/tensor/cuda/dnn.h"

#include <array>
#include <map>

#include "usol/tensor/cuda/dnn_attention.h"
#include "usol/tensor/cuda/handles.h"

namespace usol::cuda {

bool dnn_attention_takes(const AttentionShape& s) {
  constexpr std::int64_t kShortest = 64, kWidest = 128, kPerSixteenBytes = 8;
  if (s.dtype != DType::kF16 && s.dtype != DType::kBF16) return false;
  if (s.width % kPerSixteenBytes != 0 || s.width > kWidest || s.queries < kShortest || s.keys < kShortest) return false;
  for (const Shape& strides : {s.q_strides, s.k_strides, s.v_strides, s.out_strides}) {
    if (strides[3] != 1) return false;
    for (int d = 0; d < 3; ++d)
      if (strides[d] % kPerSixteenBytes != 0) return false;
  }
  return true;
}

DnnDescriptor dnn_attention_operation(const AttentionShape& s) {
  const Shape queries{s.n, s.heads, s.queries, s.width}, keys{s.n, s.heads, s.keys, s.width};
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, dnn_tensor(kUidQ, s.dtype, queries, s.q_strides));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, dnn_tensor(kUidK, s.dtype, keys, s.k_strides));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, dnn_tensor(kUidV, s.dtype, keys, s.v_strides));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, dnn_tensor(kUidOut, s.dtype, queries, s.out_strides));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, dnn_scalar(kUidScale));
  if (s.log_sum) {
    const Shape rows{s.n, s.heads, s.queries, 1};
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
                  dnn_tensor(kUidLogSum, DType::kF32, rows, rows.row_major_strides()));
  }
  operation.finalize();
  return operation;
}

bool dnn_attention(const Queue& queue, const Tensor& q, const Tensor& k, const Tensor& v, double scale, Tensor& out,
                   Tensor& log_sum) {
  constexpr std::size_t kFirstVersion = 91900;  // the operation is one node of the backend API from here on
  const AttentionShape shape{q.dtype(),   q.size(0),   q.size(1),   q.size(2),     k.size(2),        q.size(3),
                             q.strides(), k.strides(), v.strides(), out.strides(), log_sum.defined()};
  if (!dnn_attention_takes(shape) || cudnnGetVersion() < kFirstVersion) return false;
  for (const Tensor* t : {&q, &k, &v, static_cast<const Tensor*>(&out)})
    if (reinterpret_cast<std::uintptr_t>(t->raw()) % 16 != 0) return false;

  Handles& handles = Handles::of(queue);
  using Key = std::array<std::int64_t, 20>;
  const auto strides = [](const Tensor& t, int d) { return t.strides()[d]; };
  // A plan is its handle's: with another, of another stream of this thread, it is not run.
  const Key key{reinterpret_cast<std::intptr_t>(handles.dnn()),
                static_cast<int>(shape.dtype),
                shape.n,
                shape.heads,
                shape.queries,
                shape.keys,
                shape.width,
                shape.log_sum,
                strides(q, 0),
                strides(q, 1),
                strides(q, 2),
                strides(k, 0),
                strides(k, 1),
                strides(k, 2),
                strides(v, 0),
                strides(v, 1),
                strides(v, 2),
                strides(out, 0),
                strides(out, 1),
                strides(out, 2)};
  thread_local std::map<Key, DnnPlan> plans;
  auto found = plans.find(key);
  if (found == plans.end())
    found = plans.emplace(key, DnnPlan::build({handles.dnn(), {}}, {dnn_attention_operation(shape)}, {})).first;
  const DnnPlan& plan = found->second;
  if (!plan) return false;
  auto host_scale = static_cast<float>(scale);
  std::vector<std::pair<std::int64_t, void*>> data{
      {kUidQ, q.raw()}, {kUidK, k.raw()}, {kUidV, v.raw()}, {kUidOut, out.raw()}, {kUidScale, &host_scale}};
  if (log_sum.defined()) {
    log_sum.storage()->bump_version();
    data.emplace_back(kUidLogSum, log_sum.raw());
  }
  plan.run(handles.dnn(), data, handles.workspace().reserve(plan.workspace_bytes(), queue.stream()));
  check_launch(cudaSuccess, queue.op(), nullptr, queue.stream());
  return true;
}

}  // namespace usol::cuda
