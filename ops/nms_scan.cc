#include "usol/ops/nms_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/nms_scan.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void scan(const BoxColumns<float>& b, std::int64_t i, std::int64_t n, float threshold, std::uint8_t* suppressed) {
  const auto with = [&](auto d, std::int64_t j) HWY_ATTR {
    const auto width = hn::Sub(hn::Min(hn::Set(d, b.x1[i]), hn::LoadU(d, b.x1 + j)),
                               hn::Max(hn::Set(d, b.x0[i]), hn::LoadU(d, b.x0 + j)));
    const auto height = hn::Sub(hn::Min(hn::Set(d, b.y1[i]), hn::LoadU(d, b.y1 + j)),
                                hn::Max(hn::Set(d, b.y0[i]), hn::LoadU(d, b.y0 + j)));
    const auto zero = hn::Zero(d);
    const auto overlap = hn::And(hn::Gt(width, zero), hn::Gt(height, zero));
    if (hn::AllFalse(d, overlap)) return;
    const auto common = hn::Mul(width, height);
    const auto both = hn::Sub(hn::Add(hn::Set(d, b.area[i]), hn::LoadU(d, b.area + j)), common);
    const auto over = hn::And(overlap, hn::Gt(hn::Div(common, both), hn::Set(d, threshold)));
    if (hn::AllFalse(d, over)) return;
    constexpr std::size_t kMost = hn::MaxLanes(decltype(d)());
    HWY_ALIGN float lanes[kMost];
    hn::Store(hn::IfThenElseZero(over, hn::Set(d, 1.0f)), d, lanes);
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) suppressed[j + static_cast<std::int64_t>(k)] |= lanes[k] != 0;
  };
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(wide));
  std::int64_t j = i + 1;
  for (; j + lanes <= n; j += lanes) with(wide, j);
  for (; j < n; ++j) with(one, j);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(scan);

void nms_scan(const BoxColumns<float>& boxes, std::int64_t i, std::int64_t n, float threshold,
              std::uint8_t* suppressed) {
  HWY_DYNAMIC_DISPATCH(scan)(boxes, i, n, threshold, suppressed);
}

}  // namespace usol
#endif
