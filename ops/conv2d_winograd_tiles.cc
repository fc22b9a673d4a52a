#include "usol/ops/conv2d_winograd_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/conv2d_winograd_tiles.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
constexpr std::size_t kMost = hn::MaxLanes(D());

// Six numbers under the points: row i of B^T holds the coefficients of M(x) / (x - point i), M the product of all
// (x - point). load(k) and store(k, v) reach the k-th.
template <class Load, class Store>
HWY_INLINE void input_line(const Load& load, const Store& store) {
  const D d;
  constexpr float kA2 = kNear * kNear, kB2 = kFar * kFar;
  const auto a2 = hn::Set(d, kA2), b2 = hn::Set(d, kB2), both = hn::Set(d, kA2 + kB2), product = hn::Set(d, kA2 * kB2);
  const auto d1 = load(1), d2 = load(2), d3 = load(3), d4 = load(4);
  store(0, hn::MulAdd(product, load(0), hn::NegMulAdd(both, d2, d4)));
  const auto even_near = hn::NegMulAdd(b2, d2, d4), odd_near = hn::Mul(hn::Set(d, kNear), hn::NegMulAdd(b2, d1, d3));
  const auto even_far = hn::NegMulAdd(a2, d2, d4), odd_far = hn::Mul(hn::Set(d, kFar), hn::NegMulAdd(a2, d1, d3));
  store(1, hn::Add(even_near, odd_near));
  store(2, hn::Sub(even_near, odd_near));
  store(3, hn::Add(even_far, odd_far));
  store(4, hn::Sub(even_far, odd_far));
  store(5, hn::MulAdd(product, d1, hn::NegMulAdd(both, d3, load(5))));
}

// Six products to four results: row j of A^T holds the points' j-th powers.
template <class Load, class Store>
HWY_INLINE void output_line(const Load& load, const Store& store) {
  const D d;
  const auto power = [&](float point, int n) HWY_ATTR {
    float value = 1;
    for (int i = 0; i < n; ++i) value *= point;
    return hn::Set(d, value);
  };
  const auto m1 = load(1), m2 = load(2), m3 = load(3), m4 = load(4);
  const auto even_near = hn::Add(m1, m2), odd_near = hn::Sub(m1, m2);
  const auto even_far = hn::Add(m3, m4), odd_far = hn::Sub(m3, m4);
  store(0, hn::Add(load(0), hn::Add(even_near, even_far)));
  store(1, hn::MulAdd(power(kFar, 1), odd_far, hn::Mul(power(kNear, 1), odd_near)));
  store(2, hn::MulAdd(power(kFar, 2), even_far, hn::Mul(power(kNear, 2), even_near)));
  store(3, hn::MulAdd(power(kFar, 3), odd_far, hn::MulAdd(power(kNear, 3), odd_near, load(5))));
}

void input_tile(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride) {
  const D d;
  HWY_ALIGN float columns[kWinogradTile * kWinogradTile * kMost];
  const auto at = [&](int y, int x) { return columns + static_cast<std::size_t>(y * kWinogradTile + x) * kMost; };
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    for (int x = 0; x < kWinogradTile; ++x)
      input_line([&](int k) HWY_ATTR { return hn::LoadU(d, pixels[k * kWinogradTile + x] + c); },
                 [&](int k, auto v) HWY_ATTR { hn::Store(v, d, at(k, x)); });
    for (int y = 0; y < kWinogradTile; ++y)
      input_line([&](int k) HWY_ATTR { return hn::Load(d, at(y, k)); },
                 [&](int k, auto v) HWY_ATTR { hn::StoreU(v, d, to + (y * kWinogradTile + k) * stride + c); });
  }
}

// The gradient of output_line(): four results' to six products'.
template <class Load, class Store>
HWY_INLINE void output_grad_line(const Load& load, const Store& store) {
  const D d;
  const auto g0 = load(0), g1 = load(1), g2 = load(2), g3 = load(3);
  store(0, g0);
  const auto pair = [&](float point, int first) HWY_ATTR {
    const auto even = hn::MulAdd(hn::Set(d, point * point), g2, g0);
    const auto odd = hn::Mul(hn::Set(d, point), hn::MulAdd(hn::Set(d, point * point), g3, g1));
    store(first, hn::Add(even, odd));
    store(first + 1, hn::Sub(even, odd));
  };
  pair(kNear, 1);
  pair(kFar, 3);
  store(5, g3);
}

void output_tile(const float* from, std::int64_t stride, std::int64_t channels, const float* bias, bool accumulate,
                 bool relu, float* const* rows) {
  const D d;
  HWY_ALIGN float columns[kWinogradOut * kWinogradTile * kMost];
  const auto at = [&](int y, int x) { return columns + static_cast<std::size_t>(y * kWinogradTile + x) * kMost; };
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    for (int x = 0; x < kWinogradTile; ++x)
      output_line([&](int k) HWY_ATTR { return hn::LoadU(d, from + (k * kWinogradTile + x) * stride + c); },
                  [&](int k, auto v) HWY_ATTR { hn::Store(v, d, at(k, x)); });
    const auto shift = bias ? hn::LoadU(d, bias + c) : hn::Zero(d);
    for (int y = 0; y < kWinogradOut; ++y)
      output_line([&](int k) HWY_ATTR { return hn::Load(d, at(y, k)); },
                  [&](int k, auto v) HWY_ATTR {
                    float* row = rows[y * kWinogradOut + k];
                    if (!row) return;
                    auto sum = hn::Add(v, shift);
                    if (accumulate) sum = hn::Add(sum, hn::LoadU(d, row + c));
                    hn::StoreU(relu ? hn::Max(sum, hn::Zero(d)) : sum, d, row + c);
                  });
  }
}

void output_grad_tile(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride) {
  const D d;
  HWY_ALIGN float columns[kWinogradTile * kWinogradOut * kMost];
  const auto at = [&](int y, int x) { return columns + static_cast<std::size_t>(y * kWinogradOut + x) * kMost; };
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    for (int x = 0; x < kWinogradOut; ++x)
      output_grad_line([&](int k) HWY_ATTR { return hn::LoadU(d, pixels[k * kWinogradOut + x] + c); },
                       [&](int k, auto v) HWY_ATTR { hn::Store(v, d, at(k, x)); });
    for (int y = 0; y < kWinogradTile; ++y)
      output_grad_line([&](int k) HWY_ATTR { return hn::Load(d, at(y, k)); },
                       [&](int k, auto v) HWY_ATTR { hn::StoreU(v, d, to + (y * kWinogradTile + k) * stride + c); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(input_tile);
HWY_EXPORT(output_tile);
HWY_EXPORT(output_grad_tile);

void winograd_input(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(input_tile)(pixels, channels, to, stride);
}

void winograd_output(const float* from, std::int64_t stride, std::int64_t channels, const float* bias, bool accumulate,
                     bool relu, float* const* rows) {
  HWY_DYNAMIC_DISPATCH(output_tile)(from, stride, channels, bias, accumulate, relu, rows);
}

void winograd_output_grad(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(output_grad_tile)(pixels, channels, to, stride);
}

}  // namespace usol
#endif
