// GELU over a row of values, with Highway; gelu-inl.h has the arithmetic.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/gelu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <cstdint>

#include "usol/ops/gelu-inl.h"
#include "usol/ops/gelu.h"
#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void gelu(const float* from, float* to, std::int64_t n) {
  for_vectors(n, [&](auto f, std::int64_t i) { hn::StoreU(gelu_of(f, hn::LoadU(f, from + i)), f, to + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(gelu);

void gelu_f32(const float* x, float* y, std::int64_t n) { HWY_DYNAMIC_DISPATCH(gelu)(x, y, n); }

}  // namespace usol
#endif
