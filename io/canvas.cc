#include "usol/io/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb_easy_font.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace usol::io {
namespace {

// stb's tables hold printable ASCII only.
std::string printable(std::string text) {
  for (char& c : text) c = c >= ' ' && c <= '~' ? c : '?';
  return text;
}

// How much of pixel i the interval [from, to) covers.
double covered(std::int64_t i, double from, double to) {
  return std::max(0.0, std::min(to, static_cast<double>(i + 1)) - std::max(from, static_cast<double>(i)));
}

std::pair<std::int64_t, std::int64_t> touched(double from, double to, std::int64_t size) {
  const double limit = static_cast<double>(size);
  return {static_cast<std::int64_t>(std::clamp(std::floor(from), 0.0, limit)),
          static_cast<std::int64_t>(std::clamp(std::ceil(to), 0.0, limit))};
}

// Mean over 2 * radius + 1 samples, `stride` apart; beyond the ends the last sample repeats.
void box_blur(const float* in, float* out, std::int64_t size, std::int64_t stride, std::int64_t radius) {
  const float share = 1.0f / static_cast<float>(2 * radius + 1);
  for (std::int64_t i = 0; i < size; ++i) {
    float sum = 0;
    for (std::int64_t k = i - radius; k <= i + radius; ++k)
      sum += in[std::clamp<std::int64_t>(k, 0, size - 1) * stride];
    out[i * stride] = sum * share;
  }
}

}  // namespace

Canvas::Canvas(Tensor& image)
    : image_(image), pixels_(image.mutable_data<std::uint8_t>()), height_(image.size(0)), width_(image.size(1)) {}

void Canvas::blend(std::int64_t x, std::int64_t y, const Colour& colour, double alpha) {
  std::uint8_t* pixel = pixels_ + (y * width_ + x) * 3;
  const std::uint8_t mix[3] = {colour.r, colour.g, colour.b};
  for (int c = 0; c < 3; ++c) {
    pixel[c] = static_cast<std::uint8_t>(std::lround(pixel[c] + (mix[c] - pixel[c]) * std::clamp(alpha, 0.0, 1.0)));
  }
}

void Canvas::fill(double x0, double y0, double x1, double y1, const Colour& colour, double alpha) {
  const auto [left, right] = touched(x0, x1, width_);
  const auto [top, bottom] = touched(y0, y1, height_);
  for (std::int64_t y = top; y < bottom; ++y) {
    for (std::int64_t x = left; x < right; ++x) {
      blend(x, y, colour, alpha * covered(x, x0, x1) * covered(y, y0, y1));
    }
  }
}

void Canvas::outline(double x0, double y0, double x1, double y1, double line, const Colour& colour, double alpha) {
  const double half = line / 2;
  fill(x0 - half, y0 - half, x1 + half, y0 + half, colour, alpha);
  fill(x0 - half, y1 - half, x1 + half, y1 + half, colour, alpha);
  fill(x0 - half, y0 + half, x0 + half, y1 - half, colour, alpha);
  fill(x1 - half, y0 + half, x1 + half, y1 - half, colour, alpha);
}

void Canvas::text(double x, double y, double scale, const std::string& text, const Colour& colour) {
  struct Vertex {
    float x, y, z;
    unsigned char colour[4];
  };
  using Quad = std::array<Vertex, 4>;  // corners clockwise from the top left
  constexpr std::size_t kQuadsPerCharacter = 32;
  std::string shown = printable(text);
  std::vector<Quad> quads(shown.size() * kQuadsPerCharacter + 1);
  const int count =
      stb_easy_font_print(0, 0, shown.data(), nullptr, quads.data(), static_cast<int>(quads.size() * sizeof(Quad)));
  for (int i = 0; i < count; ++i) {
    const Vertex& first = quads[i][0];
    const Vertex& last = quads[i][2];
    fill(x + first.x * scale, y + first.y * scale, x + last.x * scale, y + last.y * scale, colour, 1);
  }
}

double text_width(const std::string& text, double scale) {
  std::string shown = printable(text);
  return stb_easy_font_width(shown.data()) * scale;
}

BorderDistance border_distance(const Tensor& mask, int reach) {
  const std::int64_t rows = mask.size(0), columns = mask.size(1);
  const std::uint8_t* inside = mask.data<std::uint8_t>();
  std::int64_t left = columns, right = -1, top = rows, bottom = -1;
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      if (inside[y * columns + x] == 0) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = y;
    }
  }
  BorderDistance border;
  if (right < 0) return border;
  const std::int64_t margin = 2 * reach + 1;
  border.x0 = std::max<std::int64_t>(0, left - margin);
  border.y0 = std::max<std::int64_t>(0, top - margin);
  border.width = std::min(columns, right + 1 + margin) - border.x0;
  border.height = std::min(rows, bottom + 1 + margin) - border.y0;

  // Blurring twice with a box of n samples gives, at distance d from a straight border, the value
  // s = 1/2 + d/n - d|d|/(2 n^2); solved for |d| below. An object that leaves the image has no border there.
  const std::int64_t w = border.width, h = border.height;
  std::vector<float> a(static_cast<std::size_t>(w * h)), b(a.size());
  for (std::int64_t y = 0; y < h; ++y) {
    for (std::int64_t x = 0; x < w; ++x) {
      a[y * w + x] = inside[(border.y0 + y) * columns + border.x0 + x] != 0 ? 1.0f : 0.0f;
    }
  }
  for (int pass = 0; pass < 2; ++pass) {
    for (std::int64_t y = 0; y < h; ++y) box_blur(a.data() + y * w, b.data() + y * w, w, 1, reach);
    for (std::int64_t x = 0; x < w; ++x) box_blur(b.data() + x, a.data() + x, h, w, reach);
  }
  const float n = static_cast<float>(2 * reach + 1);
  border.distance.resize(a.size());
  for (std::int64_t y = 0; y < h; ++y) {
    for (std::int64_t x = 0; x < w; ++x) {
      const float s = a[y * w + x];
      float distance = n * (1 - std::sqrt(std::max(0.0f, 1 - 2 * std::abs(s - 0.5f))));
      // A part so thin that the blur lost it is all border.
      if (s < 0.5f && inside[(border.y0 + y) * columns + border.x0 + x] != 0) distance = 0;
      border.distance[y * w + x] = distance;
    }
  }
  return border;
}

}  // namespace usol::io
