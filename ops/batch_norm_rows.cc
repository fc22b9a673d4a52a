#include "usol/ops/batch_norm_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/batch_norm_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The gradient from row r, channel c on, zero where the ReLU was.
template <class D, class T>
HWY_INLINE hn::VFromD<D> gradient(D d, const BatchNormRows<T>& in, std::int64_t at) {
  const auto grad = load(d, in.grad + at);
  return in.out ? hn::IfThenElseZero(hn::Gt(load(d, in.out + at), hn::Zero(d)), grad) : grad;
}

// Calls f(d of f64, d of f32, c) for half vectors of f32, which become whole ones of f64, and then for single channels.
template <class F>
HWY_INLINE void for_halves(std::int64_t channels, F&& f) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<float, decltype(wide)> narrow;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(wide));
  std::int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) f(wide, narrow, c);
  const hn::CappedTag<double, 1> one;
  for (; c < channels; ++c) f(one, hn::Rebind<float, decltype(one)>(), c);
}

template <class T>
void grad_sums(const BatchNormRows<T>& in, double* plain, double* product) {
  for (std::int64_t r = 0; r < in.rows; ++r)
    for_halves(in.channels, [&](auto d, auto f, std::int64_t i) HWY_ATTR {
      const std::int64_t at = r * in.channels + i;
      const auto g = hn::PromoteTo(d, gradient(f, in, at)), x = hn::PromoteTo(d, load(f, in.x + at));
      hn::StoreU(hn::Add(hn::LoadU(d, plain + i), g), d, plain + i);
      hn::StoreU(hn::MulAdd(g, x, hn::LoadU(d, product + i)), d, product + i);  // the product itself is exact
    });
}

template <class T>
void grad_input(const BatchNormRows<T>& in, const float* k, T* grad_x) {
  for (std::int64_t r = 0; r < in.rows; ++r)
    for_vectors(in.channels, [&](auto d, std::int64_t c) HWY_ATTR {
      const std::int64_t at = r * in.channels + c;
      const auto rest =
          hn::MulAdd(hn::LoadU(d, k + in.channels + c), load(d, in.x + at), hn::LoadU(d, k + 2 * in.channels + c));
      store(d, hn::MulAdd(hn::LoadU(d, k + c), gradient(d, in, at), rest), grad_x + at);
    });
}

void grad_sums_f32(const BatchNormRows<float>& in, double* plain, double* product) { grad_sums(in, plain, product); }
void grad_sums_bf16(const BatchNormRows<bf16>& in, double* plain, double* product) { grad_sums(in, plain, product); }
void grad_input_f32(const BatchNormRows<float>& in, const float* k, float* grad_x) { grad_input(in, k, grad_x); }
void grad_input_bf16(const BatchNormRows<bf16>& in, const float* k, bf16* grad_x) { grad_input(in, k, grad_x); }

void sums_bf16(const bf16* x, std::int64_t rows, std::int64_t channels, double* plain, double* square) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels)
    for_halves(channels, [&](auto d, auto f, std::int64_t i) HWY_ATTR {
      const auto v = hn::PromoteTo(d, load(f, x + i));
      hn::StoreU(hn::Add(hn::LoadU(d, plain + i), v), d, plain + i);
      hn::StoreU(hn::MulAdd(v, v, hn::LoadU(d, square + i)), d, square + i);  // the square itself is exact
    });
}

void apply_bf16(const bf16* x, std::int64_t rows, std::int64_t channels, const float* scale, const float* shift,
                bool relu, bf16* to) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, to += channels)
    for_vectors(channels, [&](auto d, std::int64_t c) HWY_ATTR {
      const auto y = hn::Add(hn::Mul(load(d, x + c), hn::LoadU(d, scale + c)), hn::LoadU(d, shift + c));
      store(d, relu ? hn::IfThenZeroElse(hn::Lt(y, hn::Zero(d)), y) : y, to + c);
    });
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(grad_sums_f32);
HWY_EXPORT(grad_sums_bf16);
HWY_EXPORT(grad_input_f32);
HWY_EXPORT(grad_input_bf16);
HWY_EXPORT(sums_bf16);
HWY_EXPORT(apply_bf16);

void batch_norm_grad_sums_rows(const BatchNormRows<float>& in, double* plain, double* product) {
  HWY_DYNAMIC_DISPATCH(grad_sums_f32)(in, plain, product);
}
void batch_norm_grad_sums_rows(const BatchNormRows<bf16>& in, double* plain, double* product) {
  HWY_DYNAMIC_DISPATCH(grad_sums_bf16)(in, plain, product);
}
void batch_norm_grad_input_rows(const BatchNormRows<float>& in, const float* k, float* grad_x) {
  HWY_DYNAMIC_DISPATCH(grad_input_f32)(in, k, grad_x);
}
void batch_norm_grad_input_rows(const BatchNormRows<bf16>& in, const float* k, bf16* grad_x) {
  HWY_DYNAMIC_DISPATCH(grad_input_bf16)(in, k, grad_x);
}
void batch_norm_sums_rows(const bf16* x, std::int64_t rows, std::int64_t channels, double* plain, double* square) {
  HWY_DYNAMIC_DISPATCH(sums_bf16)(x, rows, channels, plain, square);
}
void batch_norm_apply_rows(const bf16* x, std::int64_t rows, std::int64_t channels, const float* scale,
                           const float* shift, bool relu, bf16* to) {
  HWY_DYNAMIC_DISPATCH(apply_bf16)(x, rows, channels, scale, shift, relu, to);
}

}  // namespace usol
#endif
