#include "usol/ops/weighted_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/weighted_rows.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cstring>

#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void sum_of_rows(const float* weights, std::int64_t count, const T* rows, std::int64_t stride, std::int64_t n,
                 float* to) {
  for_vectors(n, [&](auto d, std::int64_t c) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (std::int64_t k = 0; k < count; ++k)
      sum = hn::MulAdd(hn::Set(d, weights[k]), load(d, rows + k * stride + c), sum);
    hn::StoreU(sum, d, to + c);
  });
}
void sum_rows(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
              float* to) {
  sum_of_rows(weights, count, rows, stride, n, to);
}
void sum_rows_bf16(const float* weights, std::int64_t count, const bf16* rows, std::int64_t stride, std::int64_t n,
                   float* to) {
  sum_of_rows(weights, count, rows, stride, n, to);
}

void add_row(float weight, const float* row, std::int64_t n, float* to) {
  for_vectors(n, [&](auto d, std::int64_t c) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, weight), hn::LoadU(d, row + c), hn::LoadU(d, to + c)), d, to + c);
  });
}

// Four rows are interleaved at a time, so that each column's four numbers are one store.
template <class T>
void transposed(const float* from, std::int64_t rows, std::int64_t columns, T* to) {
  constexpr std::int64_t kRows = 4;
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> single;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  HWY_ALIGN float mixed[kRows * hn::MaxLanes(d)];
  T numbers[kRows * hn::MaxLanes(d)];
  const auto put = [&](std::int64_t r, std::int64_t c)
                       HWY_ATTR { store(single, hn::LoadU(single, from + r * columns + c), to + c * rows + r); };
  std::int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    const float* row = from + r * columns;
    std::int64_t c = 0;
    for (; c + lanes <= columns; c += lanes) {
      hn::StoreInterleaved4(hn::LoadU(d, row + c), hn::LoadU(d, row + columns + c), hn::LoadU(d, row + 2 * columns + c),
                            hn::LoadU(d, row + 3 * columns + c), d, mixed);
      for (std::int64_t i = 0; i < kRows; ++i) store(d, hn::Load(d, mixed + i * lanes), numbers + i * lanes);
      for (std::int64_t i = 0; i < lanes; ++i)
        std::memcpy(to + (c + i) * rows + r, numbers + i * kRows, kRows * sizeof(T));
    }
    for (; c < columns; ++c)
      for (std::int64_t i = 0; i < kRows; ++i) put(r + i, c);
  }
  for (; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) put(r, c);
}
void transpose_f32(const float* from, std::int64_t rows, std::int64_t columns, float* to) {
  transposed(from, rows, columns, to);
}
void transpose_bf16(const float* from, std::int64_t rows, std::int64_t columns, bf16* to) {
  transposed(from, rows, columns, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(sum_rows);
HWY_EXPORT(sum_rows_bf16);
HWY_EXPORT(add_row);
HWY_EXPORT(transpose_f32);
HWY_EXPORT(transpose_bf16);

void weighted_sum(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
                  float* to) {
  HWY_DYNAMIC_DISPATCH(sum_rows)(weights, count, rows, stride, n, to);
}

void weighted_sum(const float* weights, std::int64_t count, const bf16* rows, std::int64_t stride, std::int64_t n,
                  float* to) {
  HWY_DYNAMIC_DISPATCH(sum_rows_bf16)(weights, count, rows, stride, n, to);
}

void weighted_add(float weight, const float* row, std::int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(add_row)(weight, row, n, to);
}

void transpose_rows(const float* from, std::int64_t rows, std::int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(transpose_f32)(from, rows, columns, to);
}
void transpose_rows(const float* from, std::int64_t rows, std::int64_t columns, bf16* to) {
  HWY_DYNAMIC_DISPATCH(transpose_bf16)(from, rows, columns, to);
}

}  // namespace usol
#endif
