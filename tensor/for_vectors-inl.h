// A loop over the elements of a row, to be included per Highway target (no classic include guard: see Highway's FAQ).
#if defined(USOL_TENSOR_FOR_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef USOL_TENSOR_FOR_VECTORS_INL_H_
#undef USOL_TENSOR_FOR_VECTORS_INL_H_
#else
#define USOL_TENSOR_FOR_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {

// Calls f(d, i) for each whole vector of n elements, then with single lanes for the rest: every element goes through
// the same arithmetic wherever it stands in the row.
template <class F>
HWY_INLINE void for_vectors(std::int64_t n, F&& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 1> single;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(wide));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(wide, i);
  for (; i < n; ++i) f(single, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#endif
