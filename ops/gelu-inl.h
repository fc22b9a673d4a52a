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

// `terms`: erf(x / sqrt 2) / x for |x| <= limit, from the highest power of v down.
template <class D, std::size_t kTerms, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gelu_by(D f, V x, float most, const float (&terms)[kTerms]) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V limit = hn::Set(f, most);
  const V u = hn::Max(hn::Neg(limit), hn::Min(limit, x));
  const V v = hn::MulAdd(hn::Mul(u, u), hn::Set(f, 2 / (most * most)), hn::Set(f, -1.0f));
  V p = hn::Set(f, terms[0]);
  for (std::size_t k = 1; k < kTerms; ++k) p = hn::MulAdd(p, v, hn::Set(f, terms[k]));
  const V half = hn::Mul(x, hn::Set(f, 0.5f));  // a NaN stays one
  return hn::MulAdd(half, hn::Mul(p, u), half);
}

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gelu_of(D f, V x) {
  constexpr float kErf[] = {0.00019710137f,  -0.000551791047f, 0.000514284475f, -0.000781973242f, 0.00259276759f,
                            -0.00522204675f, 0.008322726f,     -0.0133685945f,  0.0208617989f,    -0.0300998352f,
                            0.0406322405f,   -0.0520771146f,   0.0641518161f,   -0.0775871873f,   0.0954747573f,
                            -0.12834464f,    0.25710386f};
  return gelu_by(f, x, 5.5f, kErf);
}

/// Enough for a result that becomes bf16: within 8e-6 |x|. Past 4.5 erf is 1 but for 7e-6.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gelu_for_bf16(D f, V x) {
  constexpr float kErf[] = {-0.0038610457f, 0.00992540736f, -0.0121404249f, 0.0193064455f, -0.0369679258f,
                            0.0577153042f,  -0.0804739594f, 0.109274983f,   -0.154371768f, 0.313812078f};
  return gelu_by(f, x, 4.5f, kErf);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#endif
