#include "usol/ops/weighted_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/weighted_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "usol/ops/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void sum_rows(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
              float* to) {
  for_vectors(n, [&](auto d, std::int64_t c) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (std::int64_t k = 0; k < count; ++k)
      sum = hn::MulAdd(hn::Set(d, weights[k]), hn::LoadU(d, rows + k * stride + c), sum);
    hn::StoreU(sum, d, to + c);
  });
}

void add_row(float weight, const float* row, std::int64_t n, float* to) {
  for_vectors(n, [&](auto d, std::int64_t c) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, weight), hn::LoadU(d, row + c), hn::LoadU(d, to + c)), d, to + c);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(sum_rows);
HWY_EXPORT(add_row);

void weighted_sum(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
                  float* to) {
  HWY_DYNAMIC_DISPATCH(sum_rows)(weights, count, rows, stride, n, to);
}

void weighted_add(float weight, const float* row, std::int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(add_row)(weight, row, n, to);
}

}  // namespace usol
#endif
