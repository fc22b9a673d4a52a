#include "usol/ops/batch_norm_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/batch_norm_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The gradient from row r, channel c on, zero where the ReLU was.
template <class D>
HWY_INLINE hn::VFromD<D> gradient(D d, const BatchNormRows& in, std::int64_t at) {
  const auto grad = hn::LoadU(d, in.grad + at);
  return in.out ? hn::IfThenElseZero(hn::Gt(hn::LoadU(d, in.out + at), hn::Zero(d)), grad) : grad;
}

void grad_sums(const BatchNormRows& in, double* plain, double* product) {
  for (std::int64_t r = 0; r < in.rows; ++r) {
    // Half vectors of f32, which become whole ones of f64.
    const hn::ScalableTag<double> wide;
    const hn::Rebind<float, decltype(wide)> narrow;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(wide));
    std::int64_t c = 0;
    const auto add = [&](auto d, auto f, std::int64_t i) HWY_ATTR {
      const std::int64_t at = r * in.channels + i;
      const auto g = hn::PromoteTo(d, gradient(f, in, at)), x = hn::PromoteTo(d, hn::LoadU(f, in.x + at));
      hn::StoreU(hn::Add(hn::LoadU(d, plain + i), g), d, plain + i);
      hn::StoreU(hn::MulAdd(g, x, hn::LoadU(d, product + i)), d, product + i);  // the product itself is exact
    };
    for (; c + lanes <= in.channels; c += lanes) add(wide, narrow, c);
    const hn::CappedTag<double, 1> one;
    for (; c < in.channels; ++c) add(one, hn::Rebind<float, decltype(one)>(), c);
  }
}

void grad_input(const BatchNormRows& in, const float* k, float* grad_x) {
  for (std::int64_t r = 0; r < in.rows; ++r)
    for_vectors(in.channels, [&](auto d, std::int64_t c) HWY_ATTR {
      const std::int64_t at = r * in.channels + c;
      const auto rest =
          hn::MulAdd(hn::LoadU(d, k + in.channels + c), hn::LoadU(d, in.x + at), hn::LoadU(d, k + 2 * in.channels + c));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, k + c), gradient(d, in, at), rest), d, grad_x + at);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(grad_sums);
HWY_EXPORT(grad_input);

void batch_norm_grad_sums_f32(const BatchNormRows& in, double* plain, double* product) {
  HWY_DYNAMIC_DISPATCH(grad_sums)(in, plain, product);
}

void batch_norm_grad_input_f32(const BatchNormRows& in, const float* k, float* grad_x) {
  HWY_DYNAMIC_DISPATCH(grad_input)(in, k, grad_x);
}

}  // namespace usol
#endif
