#pragma once
// Where a pixel's centre falls in a pasted mask, for the CPU and the CUDA kernel.

#include <cmath>
#include <cstdint>

#include "usol/tensor/host_device.h"

namespace usol {

/// Pixels [first, end) of an axis that a box may colour: one more than it covers, inside the picture.
USOL_HOST_DEVICE inline void paste_range(float low, float high, std::int64_t pixels, std::int64_t* first,
                                         std::int64_t* end) {
  *first = *end = 0;
  if (!(high > low)) return;
  const float from = std::floor(low) - 1, to = std::ceil(high) + 1;
  const auto most = static_cast<float>(pixels);
  *first = from > 0 ? (from < most ? static_cast<std::int64_t>(from) : pixels) : 0;
  *end = to > 0 ? (to < most ? static_cast<std::int64_t>(to) : pixels) : 0;
}

/// The two cells around a pixel's centre and their weights; 0 for cells outside of the mask.
struct PasteTap {
  std::int64_t low, high;
  float low_weight, high_weight;
};

USOL_HOST_DEVICE inline PasteTap paste_tap(std::int64_t pixel, float low, float high, std::int64_t cells) {
  // In [-1, 1] over the box, then in cells: two steps, so that it rounds as the reference does.
  const float unit = (static_cast<float>(pixel) + 0.5f - low) / (high - low) * 2 - 1;
  const float at = ((unit + 1) * static_cast<float>(cells) - 1) / 2;
  const float cell = std::floor(at);
  if (!(cell >= -1 && cell < static_cast<float>(cells))) return {0, 0, 0, 0};
  const auto i = static_cast<std::int64_t>(cell);
  const float t = at - cell;
  return {i < 0 ? 0 : i, i + 1 < cells ? i + 1 : cells - 1, i < 0 ? 0 : 1 - t, i + 1 < cells ? t : 0};
}

}  // namespace usol
