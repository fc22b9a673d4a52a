#pragma once
// Pictures for people: masks, boxes and scores over an image, heat maps, panels side by side.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/io/resize.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct OverlayObject {
  Tensor mask;                               // u8 [H, W] of the image's size, nonzero inside; undefined: no mask
  std::optional<std::array<double, 4>> box;  // x, y, width, height in pixels
  std::string label;                         // for example a score; empty: none
};

struct OverlayOptions {
  double fill = 0.42;  // opacity of the masks, 0..1
  double line_px = 0;  // width of outlines and boxes; 0: by image size
  double text_px = 0;  // height of labels; 0: by image size
};

/// A copy of a CPU u8 [H, W, 3] image with each object in its own colour (distinct_colour of its position): translucent
/// mask with an antialiased outline, thin box, label on a dark plate. Larger objects are drawn first; labels avoid each
/// other where there is room. Characters that are not printable ASCII show as '?'.
/// Throws Error for other images, or a mask of another size or type.
Tensor draw_overlay(const Tensor& image, const std::vector<OverlayObject>& objects, const OverlayOptions& options = {});

/// Values (CPU float tensor [h, w]) as colours, u8 [height, width, 3]: the smallest is dark, the largest light
/// (heat_colour). kNearest shows the grid as it is. Constant maps are mid-range, NaN is grey.
/// Throws Error on other inputs and on infinite values.
Tensor draw_heat_map(const Tensor& values, std::int64_t height, std::int64_t width, Filter filter = Filter::kNearest);

struct Panel {
  Tensor image;         // CPU u8 [H, W, 3]
  std::string caption;  // empty: none
};

/// Panels in a row on a white ground, scaled to one height (0: that of the first), with their captions.
/// Throws Error if there is none, or an image is of another type.
Tensor draw_side_by_side(const std::vector<Panel>& panels, std::int64_t height = 0);

}  // namespace usol::io
