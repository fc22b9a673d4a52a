// GELU for vectors of f32, to be included per Highway target (no classic include guard: see Highway's FAQ).
// x / 2 (1 + erf(x / sqrt 2)), and erf without a division or a branch. erf(x / sqrt 2) / x is a function of x^2 alone;
// on |x| <= 5.5, where erf reaches 1 in f32, a polynomial of degree 16 has it to 3e-9. It is in v = 2 x^2 / 5.5^2 - 1,
// which runs over [-1, 1], so that no coefficient is large. Fitted by weighted least squares at Chebyshev points.
#if defined(USOL_OPS_GELU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef USOL_OPS_GELU_INL_H_
#undef USOL_OPS_GELU_INL_H_
#else
#define USOL_OPS_GELU_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <iterator>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gelu_of(D f, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  // erf(x / sqrt 2) / x, from the highest power of v down.
  constexpr float kErf[] = {0.00019710137f,  -0.000551791047f, 0.000514284475f, -0.000781973242f, 0.00259276759f,
                            -0.00522204675f, 0.008322726f,     -0.0133685945f,  0.0208617989f,    -0.0300998352f,
                            0.0406322405f,   -0.0520771146f,   0.0641518161f,   -0.0775871873f,   0.0954747573f,
                            -0.12834464f,    0.25710386f};
  const float most = 5.5f;
  const V limit = hn::Set(f, most);
  const V u = hn::Max(hn::Neg(limit), hn::Min(limit, x));
  const V v = hn::MulAdd(hn::Mul(u, u), hn::Set(f, 2 / (most * most)), hn::Set(f, -1.0f));
  V p = hn::Set(f, kErf[0]);
  for (std::size_t k = 1; k < std::size(kErf); ++k) p = hn::MulAdd(p, v, hn::Set(f, kErf[k]));
  const V half = hn::Mul(x, hn::Set(f, 0.5f));  // a NaN stays one
  return hn::MulAdd(half, hn::Mul(p, u), half);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#endif
