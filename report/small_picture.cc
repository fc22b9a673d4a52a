#include "usol/report/small_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "usol/io/contour.h"
#include "usol/io/image.h"
#include "usol/io/resize.h"
#include "usol/tensor/check.h"

namespace usol::report {
namespace {

struct Step {
  std::int64_t side;
  int quality;
};
// From the best down: each takes about 0.7 of the bytes of the one before.
constexpr std::array<Step, 14> kSteps = {{{960, 85},
                                          {800, 82},
                                          {640, 82},
                                          {640, 70},
                                          {560, 68},
                                          {480, 66},
                                          {400, 65},
                                          {320, 62},
                                          {256, 60},
                                          {192, 55},
                                          {128, 50},
                                          {96, 40},
                                          {64, 30},
                                          {16, 30}}};

std::pair<std::int64_t, std::int64_t> fitted(std::int64_t height, std::int64_t width, std::int64_t side) {
  const double scale = static_cast<double>(side) / static_cast<double>(std::max(height, width));
  const auto scaled = [&](std::int64_t length) {
    return std::max<std::int64_t>(1, std::llround(static_cast<double>(length) * scale));
  };
  return {scaled(height), scaled(width)};
}

using Point = std::array<double, 2>;

double distance(const Point& p, const Point& a, const Point& b) {
  const double dx = b[0] - a[0], dy = b[1] - a[1], length = std::hypot(dx, dy);
  if (length == 0) return std::hypot(p[0] - a[0], p[1] - a[1]);
  return std::abs(dx * (p[1] - a[1]) - dy * (p[0] - a[0])) / length;
}

// Douglas and Peucker (1973): keeps what lies farther than `tolerance` from the line between the points kept.
std::vector<Point> simplified(const io::Ring& ring, double tolerance) {
  const std::size_t n = ring.size();
  std::size_t far = 0;
  for (std::size_t i = 1; i < n; ++i) {
    if (std::hypot(ring[i][0] - ring[0][0], ring[i][1] - ring[0][1]) >
        std::hypot(ring[far][0] - ring[0][0], ring[far][1] - ring[0][1]))
      far = i;
  }
  std::vector<bool> kept(n + 1, false);
  kept[0] = kept[far] = kept[n] = true;
  std::vector<std::pair<std::size_t, std::size_t>> spans = {{0, far}, {far, n}};
  while (!spans.empty()) {
    const auto [first, last] = spans.back();
    spans.pop_back();
    double most = 0;
    std::size_t at = first;
    for (std::size_t i = first + 1; i < last; ++i) {
      const double d = distance(ring[i], ring[first], ring[last % n]);
      if (d > most) {
        most = d;
        at = i;
      }
    }
    if (most <= tolerance) continue;
    kept[at] = true;
    spans.emplace_back(first, at);
    spans.emplace_back(at, last);
  }
  std::vector<Point> out;
  for (std::size_t i = 0; i < n; ++i) {
    if (kept[i]) out.push_back(ring[i]);
  }
  return out;
}

// "M10 20l5-3 2 8z": one absolute point, then steps.
void append_ring(std::string& path, const std::vector<Point>& ring) {
  std::int64_t x = std::llround(ring[0][0]), y = std::llround(ring[0][1]);
  path += fmt::format("M{} {}", x, y);
  bool first = true;
  for (std::size_t i = 1; i < ring.size(); ++i) {
    const std::int64_t to_x = std::llround(ring[i][0]), to_y = std::llround(ring[i][1]);
    const std::int64_t dx = to_x - x, dy = to_y - y;
    if (dx == 0 && dy == 0) continue;
    if (first) {
      path += 'l';
    } else if (dx >= 0) {
      path += ' ';
    }
    path += fmt::format("{}{}{}", dx, dy >= 0 ? " " : "", dy);
    first = false;
    x = to_x;
    y = to_y;
  }
  path += 'z';
}

}  // namespace

std::vector<std::byte> jpeg_within(const Tensor& image, std::size_t bytes, std::int64_t longest_px) {
  const std::int64_t height = image.size(0), width = image.size(1), longest = std::max(height, width);
  std::vector<std::byte> jpeg;
  Tensor resized;
  for (const Step& step : kSteps) {
    const std::int64_t side = std::min({step.side, longest_px, longest});
    const auto [h, w] = fitted(height, width, side);
    // A long way down goes over the size before: shrinking that is cheaper than shrinking the picture again.
    const Tensor& from = resized.defined() && resized.size(0) >= 2 * h ? resized : image;
    if (!resized.defined() || resized.size(0) != h || resized.size(1) != w) {
      resized = h == height && w == width ? image : resize(from, h, w, io::Filter::kLanczos);
    }
    jpeg = io::encode_jpeg(resized, step.quality);
    if (jpeg.size() <= bytes) break;
  }
  return jpeg;
}

OutlineGrid outline_grid(std::int64_t image_height, std::int64_t image_width) {
  check(image_height > 0 && image_width > 0, "outline_grid: expected a picture, got {} x {}", image_height,
        image_width);
  const auto [h, w] = fitted(image_height, image_width, kOutlineUnits);
  return {h, w};
}

std::string box_path(const io::Box& box, std::int64_t image_height, std::int64_t image_width, const OutlineGrid& grid) {
  const double x = static_cast<double>(grid.width) / static_cast<double>(image_width);
  const double y = static_cast<double>(grid.height) / static_cast<double>(image_height);
  const auto left = std::llround(box[0] * x), top = std::llround(box[1] * y);
  const auto right = std::max(left + 1, std::llround((box[0] + box[2]) * x));
  const auto bottom = std::max(top + 1, std::llround((box[1] + box[3]) * y));
  return fmt::format("M{} {}H{}V{}H{}z", left, top, right, bottom, left);
}

std::string outline_path(const Tensor& mask, const OutlineGrid& grid, double tolerance) {
  const std::vector<io::Ring> rings = io::trace_outlines(resize(mask, grid.height, grid.width, io::Filter::kNearest));
  std::string path;
  for (const io::Ring& ring : rings) {
    const std::vector<Point> few = simplified(ring, tolerance);
    if (few.size() >= 3) append_ring(path, few);
  }
  if (!path.empty()) return path;
  const io::Box box = io::rle_to_box(io::rle_encode(mask));
  return box[2] > 0 ? box_path(box, mask.size(0), mask.size(1), grid) : path;
}

std::int64_t outline_within(std::span<OutlinedObject> objects, std::int64_t image_height, std::int64_t image_width,
                            std::size_t bytes) {
  const OutlineGrid grid = outline_grid(image_height, image_width);
  std::size_t total = 0;
  for (const double tolerance : {0.9, 2.0, 4.0}) {
    total = 0;
    for (OutlinedObject& object : objects) {
      object.path = object.mask.counts.empty() ? box_path(object.box, image_height, image_width, grid)
                                               : outline_path(io::rle_decode(object.mask), grid, tolerance);
      total += object.path.size();
    }
    if (total <= bytes) return 0;
  }
  std::int64_t left_out = 0;
  for (std::size_t i = objects.size(); i-- > 0 && total > bytes;) {
    total -= objects[i].path.size();
    left_out += !objects[i].path.empty();
    objects[i].path.clear();
  }
  return left_out;
}

}  // namespace usol::report
