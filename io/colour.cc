#include "usol/io/colour.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace usol::io {
namespace {

constexpr double kPi = 3.14159265358979323846;

struct Lch {
  double lightness, chroma, hue_degrees;
};
struct Triple {
  double x, y, z;
};

Triple to_lab(const Lch& c) {
  const double hue = c.hue_degrees * kPi / 180;
  return {c.lightness, c.chroma * std::cos(hue), c.chroma * std::sin(hue)};
}

Triple lab_to_linear_rgb(const Triple& lab) {
  const double l = std::pow(lab.x + 0.3963377774 * lab.y + 0.2158037573 * lab.z, 3);
  const double m = std::pow(lab.x - 0.1055613458 * lab.y - 0.0638541728 * lab.z, 3);
  const double s = std::pow(lab.x - 0.0894841775 * lab.y - 1.2914855480 * lab.z, 3);
  return {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
          -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
          -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
}

bool displayable(const Triple& rgb) {
  const auto inside = [](double v) { return v >= -1e-4 && v <= 1 + 1e-4; };
  return inside(rgb.x) && inside(rgb.y) && inside(rgb.z);
}

// The same lightness and hue with the largest chroma, up to the wanted one, that a display can show.
Lch fitted(Lch colour) {
  if (displayable(lab_to_linear_rgb(to_lab(colour)))) return colour;
  double low = 0, high = colour.chroma;
  for (int i = 0; i < 24; ++i) {
    colour.chroma = (low + high) / 2;
    (displayable(lab_to_linear_rgb(to_lab(colour))) ? low : high) = colour.chroma;
  }
  colour.chroma = low;
  return colour;
}

std::uint8_t to_srgb_byte(double linear) {
  const double v = std::clamp(linear, 0.0, 1.0);
  const double encoded = v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(encoded * 255));
}

Colour to_srgb(const Lch& colour) {
  const Triple rgb = lab_to_linear_rgb(to_lab(colour));
  return {to_srgb_byte(rgb.x), to_srgb_byte(rgb.y), to_srgb_byte(rgb.z)};
}

// The path of the heat map, t in [0, 1]. Its chroma stays inside what displays show, so that it has no kinks.
Lch heat_path(double t) {
  return {0.13 + 0.84 * t, 0.045 + 0.125 * std::sin(kPi * std::pow(t, 0.9)), 285 + 180 * std::pow(t, 0.8)};
}

// 256 colours at equal distances along the path.
std::array<Colour, 256> make_heat_table() {
  constexpr int kSteps = 2048;
  std::vector<double> length(kSteps + 1, 0.0);
  Triple previous = to_lab(heat_path(0));
  for (int i = 1; i <= kSteps; ++i) {
    const Triple lab = to_lab(heat_path(static_cast<double>(i) / kSteps));
    length[i] = length[i - 1] + std::hypot(lab.x - previous.x, lab.y - previous.y, lab.z - previous.z);
    previous = lab;
  }
  std::array<Colour, 256> table;
  for (int i = 0; i < 256; ++i) {
    const double wanted = length[kSteps] * i / 255;
    const auto found = std::lower_bound(length.begin(), length.end(), wanted);
    const auto step = std::min<std::ptrdiff_t>(found - length.begin(), kSteps);
    table[i] = to_srgb(heat_path(static_cast<double>(step) / kSteps));
  }
  return table;
}

}  // namespace

Colour distinct_colour(std::int64_t index) {
  // Turning by the golden angle keeps any run of hues spread out; lightness tells apart what comes round again.
  // The first is a pink that photographs seldom have.
  constexpr double kGoldenAngle = 137.50776405;
  constexpr double kLightness[] = {0.68, 0.82, 0.64};
  const double hue = std::fmod(342 + kGoldenAngle * static_cast<double>(index), 360);
  return to_srgb(fitted({kLightness[index % 3], 0.20, hue}));
}

Colour heat_colour(double value) {
  static const std::array<Colour, 256> table = make_heat_table();
  if (std::isnan(value)) return {128, 128, 128};
  return table[static_cast<std::size_t>(std::lround(std::clamp(value, 0.0, 1.0) * 255))];
}

}  // namespace usol::io
