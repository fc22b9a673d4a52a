#include "usol/tensor/bf16_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/tensor/bf16_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void widen_row(const bf16* from, std::int64_t n, float* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR { store(d, load(d, from + i), to + i); });
}
void narrow_row(const float* from, std::int64_t n, bf16* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR { store(d, load(d, from + i), to + i); });
}
void add_rows(const bf16* a, const bf16* b, std::int64_t n, bf16* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR { store(d, hn::Add(load(d, a + i), load(d, b + i)), to + i); });
}
void relu_row(const bf16* a, std::int64_t n, bf16* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto x = load(d, a + i);
    store(d, hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x), to + i);
  });
}
void relu_grad_rows(const bf16* a, const bf16* grad, std::int64_t n, bf16* to) {
  for_vectors(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto passes = hn::IfThenElseZero(hn::Gt(load(d, a + i), hn::Zero(d)), hn::Set(d, 1.0f));
    store(d, hn::Mul(load(d, grad + i), passes), to + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(widen_row);
HWY_EXPORT(narrow_row);
HWY_EXPORT(add_rows);
HWY_EXPORT(relu_row);
HWY_EXPORT(relu_grad_rows);

namespace bf16_rows {

void widen(const bf16* from, std::int64_t n, float* to) { HWY_DYNAMIC_DISPATCH(widen_row)(from, n, to); }
void narrow(const float* from, std::int64_t n, bf16* to) { HWY_DYNAMIC_DISPATCH(narrow_row)(from, n, to); }
void add(const bf16* a, const bf16* b, std::int64_t n, bf16* to) { HWY_DYNAMIC_DISPATCH(add_rows)(a, b, n, to); }
void relu(const bf16* a, std::int64_t n, bf16* to) { HWY_DYNAMIC_DISPATCH(relu_row)(a, n, to); }
void relu_grad(const bf16* a, const bf16* grad, std::int64_t n, bf16* to) {
  HWY_DYNAMIC_DISPATCH(relu_grad_rows)(a, grad, n, to);
}

}  // namespace bf16_rows
}  // namespace usol
#endif
