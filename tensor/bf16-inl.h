// bf16 in memory as vectors of f32, to be included per Highway target (no classic include guard: see Highway's FAQ).
#if defined(USOL_TENSOR_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef USOL_TENSOR_BF16_INL_H_
#undef USOL_TENSOR_BF16_INL_H_
#else
#define USOL_TENSOR_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "usol/tensor/half.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {

template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D f, const bf16* from) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> u;
  const hn::Rebind<std::uint16_t, D> half;
  return hn::BitCast(
      f, hn::ShiftLeft<16>(hn::PromoteTo(u, hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from)))));
}
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D f, const float* from) {
  return hwy::HWY_NAMESPACE::LoadU(f, from);
}

/// Rounds as bf16(float) does: to nearest even, and a NaN stays one.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE void store([[maybe_unused]] D f, V x, bf16* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> u;
  const hn::Rebind<std::uint16_t, D> half;
  const auto bits = hn::BitCast(u, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7fff)));
  const auto quiet = hn::Or(bits, hn::Set(u, 0x400000));
  const auto chosen = hn::IfThenElse(hn::RebindMask(u, hn::IsNaN(x)), quiet, rounded);
  hn::StoreU(hn::TruncateTo(half, hn::ShiftRight<16>(chosen)), half, reinterpret_cast<std::uint16_t*>(to));
}
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE void store(D f, V x, float* to) {
  hwy::HWY_NAMESPACE::StoreU(x, f, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#endif
