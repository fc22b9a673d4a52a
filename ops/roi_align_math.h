#pragma once
// Where RoIAlign samples, for the CPU and the CUDA kernels. One axis at a time: bilinear weights are products, so a
// bin's average is separable.
// Source: He et al. 2017, "Mask R-CNN", sec. 3; constants as in torchvision's roi_align.

#include <cmath>
#include <cstdint>

#include "usol/tensor/host_device.h"

namespace usol {

/// A box's bins along one axis, in cells of the map: bin b is [start + b size, start + (b + 1) size), sampled at `grid`
/// evenly spaced points.
template <class A>
struct RoiAxis {
  A start, size;
  std::int64_t grid;  // 0: no samples, the bins are 0
  bool finite;        // false: the bins are NaN
};

/// `low`, `high` in pixels; `scale` cells per pixel.
template <class A>
USOL_HOST_DEVICE RoiAxis<A> roi_axis(A low, A high, A scale, std::int64_t bins, std::int64_t sampling_ratio,
                                     bool aligned) {
  const A offset = aligned ? A(0.5) : A(0);
  const A start = low * scale - offset;
  A length = high * scale - offset - start;
  if (!aligned && length < 1) length = 1;
  const A size = length / static_cast<A>(bins);
  // Beyond 2^20 samples a bin's coordinates are no longer distinct in f32; such boxes have no meaning.
  const bool finite = start - start == 0 && size - size == 0 && size < A(1 << 20);
  std::int64_t grid = sampling_ratio;
  if (grid <= 0) grid = finite && size > 0 ? static_cast<std::int64_t>(std::ceil(size)) : 0;
  return {start, size, grid, finite};
}

/// The two cells of one sample; both weights are 0 outside of the map.
template <class A>
struct RoiTap {
  std::int64_t low, high;
  A low_weight, high_weight;
};

template <class A>
USOL_HOST_DEVICE RoiTap<A> roi_tap(const RoiAxis<A>& axis, std::int64_t bin, std::int64_t sample, std::int64_t cells) {
  A x = axis.start + static_cast<A>(bin) * axis.size +
        (static_cast<A>(sample) + A(0.5)) * axis.size / static_cast<A>(axis.grid);
  if (!(x >= -1 && x <= static_cast<A>(cells))) return {0, 0, 0, 0};
  if (x < 0) x = 0;
  const auto low = static_cast<std::int64_t>(x);
  if (low >= cells - 1) return {cells - 1, cells - 1, 1, 0};
  const A t = x - static_cast<A>(low);
  return {low, low + 1, 1 - t, t};
}

}  // namespace usol
