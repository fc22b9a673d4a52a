// The two kernels of reorthogonalisation. They must equal plain loops over dot products up to rounding.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/maskcut/vector_kernels.cc"
#include <hwy/foreach_target.h>
// foreach_target comes first.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "usol/maskcut/vector_kernels.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR double dot(const double* a, const double* b, std::int64_t n) {
  const hn::ScalableTag<double> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;  // four chains hide the latency of the addition
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), s1);
    s2 = hn::MulAdd(hn::LoadU(d, a + i + 2 * lanes), hn::LoadU(d, b + i + 2 * lanes), s2);
    s3 = hn::MulAdd(hn::LoadU(d, a + i + 3 * lanes), hn::LoadU(d, b + i + 3 * lanes), s3);
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// x -= sum_i c[i] * basis_i, four basis vectors a pass over x.
HWY_ATTR void subtract(const double* basis, std::int64_t columns, const double* c, double* x, std::int64_t n,
                       std::int64_t stride) {
  const hn::ScalableTag<double> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t column = 0; column < columns; column += 4) {
    const double* b[4];
    double factor[4];
    for (int k = 0; k < 4; ++k) {  // the last pass repeats a vector with factor zero
      b[k] = basis + std::min(column + k, columns - 1) * stride;
      factor[k] = column + k < columns ? c[column + k] : 0.0;
    }
    const auto c0 = hn::Set(d, factor[0]), c1 = hn::Set(d, factor[1]), c2 = hn::Set(d, factor[2]),
               c3 = hn::Set(d, factor[3]);
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      auto v = hn::LoadU(d, x + i);
      v = hn::NegMulAdd(c0, hn::LoadU(d, b[0] + i), v);
      v = hn::NegMulAdd(c1, hn::LoadU(d, b[1] + i), v);
      v = hn::NegMulAdd(c2, hn::LoadU(d, b[2] + i), v);
      v = hn::NegMulAdd(c3, hn::LoadU(d, b[3] + i), v);
      hn::StoreU(v, d, x + i);
    }
    for (; i < n; ++i)
      x[i] -= (factor[0] * b[0][i] + factor[1] * b[1][i]) + (factor[2] * b[2][i] + factor[3] * b[3][i]);
  }
}

}  // namespace usol::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol::maskcut {
namespace {

HWY_EXPORT(dot);
HWY_EXPORT(subtract);

// Multiply-adds below which a second thread costs more than it brings.
constexpr std::int64_t kWorth = 1 << 19;

}  // namespace

void dot_products(const double* basis, std::int64_t columns, const double* x, std::int64_t vectors, std::int64_t n,
                  std::int64_t stride, double* out) {
  const std::int64_t grain = kWorth / std::max<std::int64_t>(vectors * n, 1) + 1;
  parallel_for(0, columns, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      for (std::int64_t j = 0; j < vectors; ++j)
        out[j * columns + i] = HWY_DYNAMIC_DISPATCH(dot)(basis + i * stride, x + j * stride, n);
  });
}

void subtract_combination(const double* basis, std::int64_t columns, const double* coefficients, double* x,
                          std::int64_t vectors, std::int64_t n, std::int64_t stride) {
  if (columns == 0) return;
  // Pieces of a multiple of 64 elements, so that the border between vector and scalar code does not move with them.
  const std::int64_t pieces = (n + 63) / 64;
  const std::int64_t grain = kWorth / (64 * columns * std::max<std::int64_t>(vectors, 1)) + 1;
  parallel_for(0, pieces, grain, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * 64, end = std::min(last * 64, n);
    for (std::int64_t j = 0; j < vectors; ++j) HWY_DYNAMIC_DISPATCH(subtract)
    (basis + begin, columns, coefficients + j * columns, x + j * stride + begin, end - begin, stride);
  });
}

}  // namespace usol::maskcut
#endif  // HWY_ONCE
