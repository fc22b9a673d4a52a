#pragma once
// Connected regions of a binary map: the object around a seed patch, and the filled outline of a refined mask.
// Neighbours are the four that share an edge, as scipy.ndimage's default structure has it.

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::maskcut {

// Every mask here is u8 [h, w], nonzero is foreground; results are 0/1. Another dtype or rank throws Error.

struct Components {
  Tensor labels;                    // i32 [h, w]: 0 background, else 1 .. count in the order of the first pixels
  std::int64_t count = 0;           // number of components
  std::vector<std::int64_t> sizes;  // pixels; sizes[0] is the background
};

/// All components, numbered as scipy.ndimage.label numbers them.
Components label_components(const Tensor& mask);

/// The component that holds the row-major pixel `seed`; all zero if that is background.
/// Throws Error if seed is out of range.
Tensor component_of(const Tensor& mask, std::int64_t seed);

/// The component with most pixels (the first of equals); all zero if there is none.
Tensor largest_component(const Tensor& mask);

/// The mask with its holes filled: background that cannot reach the border over four-connected background.
/// Equals scipy.ndimage.binary_fill_holes.
Tensor fill_holes(const Tensor& mask);

/// Pixels of the foreground.
std::int64_t mask_area(const Tensor& mask);

/// Intersection over union of two masks of one shape; NaN when both are empty.
double mask_iou(const Tensor& a, const Tensor& b);

/// Half open: columns [x0, x1), rows [y0, y1). All zero for an empty mask.
struct PixelBox {
  std::int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  bool operator==(const PixelBox&) const = default;
};
PixelBox bounding_box(const Tensor& mask);

}  // namespace usol::maskcut
