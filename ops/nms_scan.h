#pragma once
// The f32 inner loop of ops/nms.cc, compiled for each SIMD instruction set and chosen at run time.

#include <cstdint>

namespace usol {

/// Boxes as columns.
template <class A>
struct BoxColumns {
  const A *x0, *y0, *x1, *y1, *area;
};

/// suppressed[j] = 1 for the j in [i + 1, n) whose IoU with box i exceeds `threshold`; the others stay as they are.
void nms_scan(const BoxColumns<float>& boxes, std::int64_t i, std::int64_t n, float threshold,
              std::uint8_t* suppressed);

}  // namespace usol
