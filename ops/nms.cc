#include "usol/ops/nms.h"

#include <algorithm>
#include <map>
#include <type_traits>
#include <vector>

#include "usol/ops/compare.h"
#include "usol/ops/gather.h"
#include "usol/ops/nms_scan.h"
#include "usol/ops/topk.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, double, Tensor&)> nms_kernel{"nms"};

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold) {
  check(boxes.rank() == 2, "nms: expected boxes [N, 4], got {}", boxes.shape());
  return batched_nms(boxes, scores, Tensor::zeros({boxes.size(0)}, DType::kI64, boxes.device()), threshold);
}

Tensor batched_nms(const Tensor& boxes, const Tensor& scores, const Tensor& groups, double threshold) {
  check(boxes.rank() == 2 && boxes.size(1) == 4 && scores.shape() == Shape{boxes.size(0)} &&
            groups.shape() == scores.shape(),
        "nms: expected boxes [N, 4], scores [N] and groups [N], got {}, {} and {}", boxes.shape(), scores.shape(),
        groups.shape());
  check((boxes.dtype() == DType::kF32 || boxes.dtype() == DType::kF64) && scores.dtype() == boxes.dtype() &&
            groups.dtype() == DType::kI64 && scores.device() == boxes.device() && groups.device() == boxes.device(),
        "nms: expected f32 or f64 boxes and scores and i64 groups on one device, got {} on {}, {} on {} and {} on {}",
        boxes.dtype(), boxes.device(), scores.dtype(), scores.device(), groups.dtype(), groups.device());
  const Tensor order = topk(scores.detach(), scores.numel()).indices;
  Tensor keep = Tensor::empty({boxes.size(0)}, DType::kBool, boxes.device());
  if (keep.numel() == 0) return order;
  nms_kernel(boxes.device(), index_select(boxes.detach(), order), index_select(groups, order), threshold, keep);
  return index_select(order, nonzero(keep));
}

namespace {

// The plain loop, for f64; that of f32 must equal it.
void nms_scan(const BoxColumns<double>& b, std::int64_t i, std::int64_t n, double threshold, std::uint8_t* suppressed) {
  for (std::int64_t j = i + 1; j < n; ++j) {
    const double width = std::min(b.x1[i], b.x1[j]) - std::max(b.x0[i], b.x0[j]);
    const double height = std::min(b.y1[i], b.y1[j]) - std::max(b.y0[i], b.y0[j]);
    if (!(width > 0 && height > 0)) continue;
    if (width * height / (b.area[i] + b.area[j] - width * height) > threshold) suppressed[j] = 1;
  }
}

// One group's boxes, `members` in order of descending score.
template <class A>
void suppress(const A* boxes, const std::vector<std::int64_t>& members, A threshold, std::uint8_t* keep) {
  const auto n = static_cast<std::int64_t>(members.size());
  std::vector<A> columns[5];
  for (auto& column : columns) column.reserve(members.size());
  for (const std::int64_t m : members) {
    const A* box = boxes + 4 * m;
    for (std::size_t side = 0; side < 4; ++side) columns[side].push_back(box[side]);
    columns[4].push_back((box[2] - box[0]) * (box[3] - box[1]));
  }
  const BoxColumns<A> view{columns[0].data(), columns[1].data(), columns[2].data(), columns[3].data(),
                           columns[4].data()};
  std::vector<std::uint8_t> suppressed(members.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const bool stays = suppressed[static_cast<std::size_t>(i)] == 0;
    keep[members[static_cast<std::size_t>(i)]] = stays;
    if (stays) nms_scan(view, i, n, threshold, suppressed.data());
  }
}

void nms_cpu(const Tensor& boxes, const Tensor& groups, double threshold, Tensor& keep) {
  std::map<std::int64_t, std::vector<std::int64_t>> members;
  for (std::int64_t i = 0; i < boxes.size(0); ++i) members[groups.data<std::int64_t>()[i]].push_back(i);
  std::vector<const std::vector<std::int64_t>*> lists;
  for (const auto& [group, list] : members) lists.push_back(&list);
  keep.storage()->bump_version();
  auto* to = reinterpret_cast<std::uint8_t*>(keep.raw());
  dispatch_floating(boxes.dtype(), "nms", [&]<class T>() {
    using A = Accumulator<T>;
    if constexpr (std::is_same_v<T, A>)
      parallel_for_each(0, static_cast<std::int64_t>(lists.size()), [&](std::int64_t g) {
        suppress(boxes.data<A>(), *lists[static_cast<std::size_t>(g)], static_cast<A>(threshold), to);
      });
  });
}

const Register r_nms(nms_kernel, DeviceType::kCpu, nms_cpu);

}  // namespace
}  // namespace usol
