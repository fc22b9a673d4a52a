// exp for vectors of f32, to be included per Highway target (no classic include guard: see Highway's FAQ).
// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2)/2, exp(r) by a degree-6 polynomial. Error below 2 ulp for
// x in [-87, 88]; smaller x give 0, larger ones infinity.
#if defined(USOL_OPS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef USOL_OPS_EXP_INL_H_
#undef USOL_OPS_EXP_INL_H_
#else
#define USOL_OPS_EXP_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {

/// For x in [-87.3, 88.7] only.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp_in_range(D f, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> i;
  // Adding 1.5 * 2^23 rounds to an integer, whose value is then in the lowest bits: with 127 added, n's biased
  // exponent.
  const V magic = hn::Set(f, 12582912.0f + 127.0f);
  const V shifted = hn::MulAdd(x, hn::Set(f, 1.44269504088896341f), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(f, 0.693359375f), x);  // ln 2 in two parts: n * the first is exact
  r = hn::NegMulAdd(n, hn::Set(f, -2.12194440e-4f), r);
  V p = hn::Set(f, 1.0f / 720);
  p = hn::MulAdd(p, r, hn::Set(f, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(f, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0f));
  return hn::Mul(p, hn::BitCast(f, hn::ShiftLeft<23>(hn::BitCast(i, shifted))));
}

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp_f32(D f, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V low = hn::Set(f, -87.3f), high = hn::Set(f, 88.7f);
  V y = exp_in_range(f, hn::Min(high, hn::Max(low, x)));
  y = hn::IfThenZeroElse(hn::Lt(x, low), y);
  return hn::IfThenElse(hn::Gt(x, high), hn::Set(f, __builtin_inff()), y);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#endif
