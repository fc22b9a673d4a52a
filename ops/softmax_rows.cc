#include "usol/ops/softmax_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/softmax_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void softmax_rows(bool log, const float* in, float* out, std::int64_t rows, std::int64_t n) {
  const hn::ScalableTag<float> wide;
  for (std::int64_t r = 0; r < rows; ++r, in += n, out += n) {
    // Vectors and single lanes keep their own partial results.
    auto top = hn::Set(wide, -std::numeric_limits<float>::infinity());
    float top_rest = -std::numeric_limits<float>::infinity();
    for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
      if constexpr (hn::MaxLanes(d) > 1)
        top = hn::Max(top, hn::LoadU(d, in + i));
      else
        top_rest = in[i] > top_rest ? in[i] : top_rest;
    });
    const float most = std::max(hn::GetLane(hn::MaxOfLanes(wide, top)), top_rest);

    auto sum = hn::Zero(wide);
    float sum_rest = 0;
    for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto x = hn::Sub(hn::LoadU(d, in + i), hn::Set(d, most));
      const auto e = hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));  // Exp itself would turn a NaN into 0
      if (!log) hn::StoreU(e, d, out + i);
      if constexpr (hn::MaxLanes(d) > 1)
        sum = hn::Add(sum, e);
      else
        sum_rest += hn::GetLane(e);
    });
    const float total = hn::GetLane(hn::SumOfLanes(wide, sum)) + sum_rest;

    const float shift = most + std::log(total), scale = 1.0f / total;
    for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto y =
          log ? hn::Sub(hn::LoadU(d, in + i), hn::Set(d, shift)) : hn::Mul(hn::LoadU(d, out + i), hn::Set(d, scale));
      hn::StoreU(y, d, out + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(softmax_rows);

void softmax_rows(bool log, const float* in, float* out, std::int64_t rows, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(softmax_rows)(log, in, out, rows, n);
}

}  // namespace usol
#endif
