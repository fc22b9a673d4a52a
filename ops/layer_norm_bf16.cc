// Layer normalisation of bf16 rows with Highway. A row is read three times (mean, variance, result), the last two from
// the L1 cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/layer_norm_bf16.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <cmath>

#include "usol/ops/layer_norm_bf16.h"
#include "usol/tensor/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sum of term(f, i) over a row: whole vectors, two sums in turns, then what is left one by one.
template <class Term>
HWY_INLINE float row_sum(std::int64_t columns, const Term& term) {
  const hn::CappedTag<float, 16> f;
  const hn::CappedTag<float, 1> one;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  auto even = hn::Zero(f), odd = hn::Zero(f);
  std::int64_t i = 0;
  for (; i + 2 * n <= columns; i += 2 * n) {
    even = hn::Add(even, term(f, i));
    odd = hn::Add(odd, term(f, i + n));
  }
  float rest = 0;
  for (; i < columns; ++i) rest += hn::GetLane(term(one, i));
  return hn::GetLane(hn::SumOfLanes(f, hn::Add(even, odd))) + rest;
}

void layer_norm(const bf16* x, std::int64_t rows, std::int64_t columns, const bf16* weight, const bf16* bias,
                float epsilon, bf16* out, float* mean, float* rstd) {
  const hn::CappedTag<float, 16> f;
  const hn::CappedTag<float, 1> one;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const auto count = static_cast<float>(columns);
  for (std::int64_t r = 0; r < rows; ++r, x += columns, out += columns) {
    const float m = row_sum(columns, [&](auto d, std::int64_t i) { return load(d, x + i); }) / count;
    const float variance = row_sum(columns,
                                   [&](auto d, std::int64_t i) {
                                     const auto apart = hn::Sub(load(d, x + i), hn::Set(d, m));
                                     return hn::Mul(apart, apart);
                                   }) /
                           count;
    const float s = 1 / std::sqrt(variance + epsilon);
    const auto result = [&](auto d, std::int64_t i) {
      const auto y = hn::Mul(hn::Sub(load(d, x + i), hn::Set(d, m)), hn::Set(d, s));
      store(d, hn::MulAdd(y, load(d, weight + i), load(d, bias + i)), out + i);
    };
    std::int64_t i = 0;
    for (; i + n <= columns; i += n) result(f, i);
    for (; i < columns; ++i) result(one, i);
    mean[r] = m;
    rstd[r] = s;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(layer_norm);

void layer_norm_bf16(const bf16* x, std::int64_t rows, std::int64_t columns, const bf16* weight, const bf16* bias,
                     float epsilon, bf16* out, float* mean, float* rstd) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, rows, columns, weight, bias, epsilon, out, mean, rstd);
}

}  // namespace usol
#endif
