#pragma once
// Antialiased shapes and text on a u8 RGB image: what draw.h is made of.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/io/colour.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// Draws into the memory of a dense CPU u8 [H, W, 3] tensor, which it keeps alive. Coordinates are in pixels, pixel
/// (0, 0) covers [0, 1) x [0, 1); what lies outside is clipped.
class Canvas {
 public:
  explicit Canvas(Tensor& image);
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }

  /// Mixes `colour` into one pixel, which must be inside.
  void blend(std::int64_t x, std::int64_t y, const Colour& colour, double alpha);
  /// A filled rectangle; edges cover pixels in part.
  void fill(double x0, double y0, double x1, double y1, const Colour& colour, double alpha);
  /// A rectangle's outline, `line` wide, centred on its edges.
  void outline(double x0, double y0, double x1, double y1, double line, const Colour& colour, double alpha);
  /// One line of text with its top left corner at (x, y); capitals are 7 * scale high.
  void text(double x, double y, double scale, const std::string& text, const Colour& colour);

 private:
  Tensor image_;
  std::uint8_t* pixels_;
  std::int64_t height_, width_;
};

/// Width of a line of text in pixels.
double text_width(const std::string& text, double scale);

/// Distance of the pixels of a region to the smoothed border of a mask, for drawing its outline.
struct BorderDistance {
  std::int64_t x0 = 0, y0 = 0, width = 0, height = 0;  // the region: the mask's bounds with a margin; may be empty
  std::vector<float> distance;                         // [height, width]; large far from the border
};
/// mask: dense CPU u8 [H, W]. Distances are right up to `reach` pixels; corners and steps are rounded over about as
/// many.
BorderDistance border_distance(const Tensor& mask, int reach);

}  // namespace usol::io
