#pragma once
// Colours for overlays and heat maps, made by formula in OKLab, a space in which equal distances look equally
// different. Source: B. Ottosson, "A perceptual color space for image processing" (2020).

#include <cstdint>

namespace usol::io {

struct Colour {
  std::uint8_t r = 0, g = 0, b = 0;
  bool operator==(const Colour&) const = default;
};

/// The colour of object `index` >= 0: bright, and far in hue from those of the neighbouring indices.
Colour distinct_colour(std::int64_t index);

/// Perceptually uniform map of [0, 1]: black-violet, red, orange, light yellow, in equal OKLab steps with growing
/// lightness. Values outside are clamped; NaN is grey.
Colour heat_colour(double value);

}  // namespace usol::io
