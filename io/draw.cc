#include "usol/io/draw.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "usol/io/canvas.h"
#include "usol/io/colour.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr Colour kDark{16, 16, 18};

void check_image(const Tensor& image, const char* op) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3 &&
            image.numel() > 0,
        "{}: expected a CPU u8 image [H, W, 3], got {}", op,
        image.defined() ? fmt::format("{} {}", image.dtype(), image.shape()) : "an undefined tensor");
}

// Whole multiples of the font's 7-pixel capitals stay crisp.
double text_scale(double text_px) { return std::max(1.0, std::floor(text_px / 7 + 0.6)); }

struct Rect {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

bool overlap(const Rect& a, const Rect& b) { return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1; }

// One object, ready to be drawn.
struct Shape2d {
  Tensor mask;
  BorderDistance border;
  Rect bounds;  // the box, or else the mask's bounds
  double area = 0;
  bool visible = false;
};

Shape2d prepare(const OverlayObject& object, const Tensor& image, std::size_t index, int reach) {
  Shape2d shape;
  if (object.mask.defined()) {
    check(object.mask.is_cpu() && object.mask.dtype() == DType::kU8 && object.mask.rank() == 2 &&
              object.mask.size(0) == image.size(0) && object.mask.size(1) == image.size(1),
          "draw_overlay: expected mask {} to be u8 [{}, {}] on the CPU, got {} {}", index, image.size(0), image.size(1),
          object.mask.dtype(), object.mask.shape());
    shape.mask = object.mask.contiguous();
    shape.border = border_distance(shape.mask, reach);
    shape.visible = shape.border.width > 0;
    const double margin = 2 * reach + 1;
    shape.bounds = {shape.border.x0 + margin, shape.border.y0 + margin, shape.border.x0 + shape.border.width - margin,
                    shape.border.y0 + shape.border.height - margin};
    shape.area = static_cast<double>(shape.border.width * shape.border.height);
  }
  if (object.box) {
    const auto& [x, y, w, h] = *object.box;
    check(std::isfinite(x) && std::isfinite(y) && w >= 0 && h >= 0 && std::isfinite(w + h),
          "draw_overlay: expected box {} as finite x, y, width, height, got [{}, {}, {}, {}]", index, x, y, w, h);
    shape.bounds = {x, y, x + w, y + h};
    shape.area = std::max(shape.area, w * h);
    shape.visible = true;
  }
  return shape;
}

void draw_mask(Canvas& canvas, const Shape2d& shape, const Colour& colour, double fill, double line) {
  const std::uint8_t* inside = shape.mask.data<std::uint8_t>();
  const BorderDistance& border = shape.border;
  for (std::int64_t y = 0; y < border.height; ++y) {
    for (std::int64_t x = 0; x < border.width; ++x) {
      const std::int64_t image_x = border.x0 + x, image_y = border.y0 + y;
      const double distance = border.distance[y * border.width + x];
      if (inside[image_y * canvas.width() + image_x] != 0) canvas.blend(image_x, image_y, colour, fill);
      // The line, and a dark rim of one pixel that sets it off from bright ground.
      const double rim = std::clamp(line / 2 + 1.5 - distance, 0.0, 1.0),
                   on = std::clamp(line / 2 + 0.5 - distance, 0.0, 1.0);
      if (rim > 0) canvas.blend(image_x, image_y, kDark, 0.5 * rim);
      if (on > 0) canvas.blend(image_x, image_y, colour, on);
    }
  }
}

void draw_box(Canvas& canvas, const Rect& box, const Colour& colour, double line) {
  canvas.outline(box.x0, box.y0, box.x1, box.y1, line + 2, kDark, 0.4);
  canvas.outline(box.x0, box.y0, box.x1, box.y1, line, colour, 1);
}

// A plate for a label: above the box, else inside its top, else below it, left before right, away from earlier plates;
// in a crowd some rows higher.
Rect place_label(const Rect& bounds, double width, double height, const Canvas& canvas,
                 const std::vector<Rect>& taken) {
  const double right = static_cast<double>(canvas.width()), bottom = static_cast<double>(canvas.height());
  const auto plate_at = [&](double x, double y) {
    x = std::round(std::clamp(x, 0.0, std::max(0.0, right - width)));
    y = std::round(std::clamp(y, 0.0, std::max(0.0, bottom - height)));
    return Rect{x, y, x + width, y + height};
  };
  const double tops[] = {
      bounds.y0 - height,     bounds.y0,         bounds.y1, bounds.y0 - 2 * height, bounds.y0 - 3 * height,
      bounds.y0 - 4 * height, bounds.y1 + height};
  for (const double top : tops) {
    for (const double left : {bounds.x0, bounds.x1 - width}) {
      const Rect plate = plate_at(left, top);
      if (std::none_of(taken.begin(), taken.end(), [&](const Rect& r) { return overlap(r, plate); })) return plate;
    }
  }
  return plate_at(bounds.x0, bounds.y0 - height);
}

}  // namespace

Tensor draw_overlay(const Tensor& image, const std::vector<OverlayObject>& objects, const OverlayOptions& options) {
  check_image(image, "draw_overlay");
  check(options.fill >= 0 && options.fill <= 1 && options.line_px >= 0 && options.text_px >= 0,
        "draw_overlay: expected fill in 0..1 and sizes >= 0, got {}, {}, {}", options.fill, options.line_px,
        options.text_px);
  const double side = static_cast<double>(std::min(image.size(0), image.size(1)));
  const double line = options.line_px > 0 ? options.line_px : std::clamp(side / 240, 1.5, 16.0);
  const double text = options.text_px > 0 ? options.text_px : std::clamp(side / 38, 7.0, 128.0);
  const int reach = static_cast<int>(std::ceil(line / 2 + 0.5));

  std::vector<Shape2d> shapes;
  for (std::size_t i = 0; i < objects.size(); ++i) shapes.push_back(prepare(objects[i], image, i, reach));
  std::vector<std::size_t> order(objects.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return shapes[a].area > shapes[b].area; });

  Tensor drawn = image.clone();
  Canvas canvas(drawn);
  for (const std::size_t i : order) {
    if (shapes[i].border.width == 0) continue;
    draw_mask(canvas, shapes[i], distinct_colour(static_cast<std::int64_t>(i)), options.fill, line);
  }
  for (const std::size_t i : order) {
    if (!objects[i].box) continue;
    draw_box(canvas, shapes[i].bounds, distinct_colour(static_cast<std::int64_t>(i)),
             std::max(1.0, std::round(line * 0.6)));
  }
  const double scale = text_scale(text), pad = 2.5 * scale;
  std::vector<Rect> taken;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (objects[i].label.empty() || !shapes[i].visible) continue;
    const double width = text_width(objects[i].label, scale) + 2 * pad - scale, height = 7 * scale + 2 * pad;
    const Rect plate = place_label(shapes[i].bounds, width, height, canvas, taken);
    canvas.fill(plate.x0, plate.y0, plate.x1, plate.y1, kDark, 0.8);
    canvas.text(plate.x0 + pad, plate.y0 + pad, scale, objects[i].label, distinct_colour(static_cast<std::int64_t>(i)));
    taken.push_back(plate);
  }
  return drawn;
}

Tensor draw_heat_map(const Tensor& values, std::int64_t height, std::int64_t width, Filter filter) {
  check(values.defined() && values.is_cpu() && is_floating(values.dtype()) && values.rank() == 2 && values.numel() > 0,
        "draw_heat_map: expected a CPU float map [h, w], got {}",
        values.defined() ? fmt::format("{} {}", values.dtype(), values.shape()) : "an undefined tensor");
  const std::vector<double> numbers = values.to(DType::kF64).to_vector<double>();
  double low = INFINITY, high = -INFINITY;
  for (const double v : numbers) {
    check(!std::isinf(v), "draw_heat_map: expected finite values or NaN, got an infinite one");
    if (std::isnan(v)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  Tensor grid = Tensor::empty({values.size(0), values.size(1), 3}, DType::kU8);
  std::uint8_t* out = grid.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double value = high > low ? (numbers[i] - low) / (high - low) : numbers[i] * 0 + 0.5;  // NaN stays NaN
    const Colour colour = heat_colour(value);
    out[3 * i] = colour.r;
    out[3 * i + 1] = colour.g;
    out[3 * i + 2] = colour.b;
  }
  return resize(grid, height, width, filter);
}

Tensor draw_side_by_side(const std::vector<Panel>& panels, std::int64_t height) {
  check(!panels.empty(), "draw_side_by_side: expected at least one panel");
  for (const Panel& panel : panels) check_image(panel.image, "draw_side_by_side");
  if (height == 0) height = panels[0].image.size(0);
  check(height >= 1, "draw_side_by_side: expected a height >= 1, got {}", height);
  const bool captions = std::any_of(panels.begin(), panels.end(), [](const Panel& p) { return !p.caption.empty(); });
  const double scale = text_scale(static_cast<double>(height) / 38);
  const std::int64_t gap = std::max<std::int64_t>(4, height / 60);
  const std::int64_t top = captions ? static_cast<std::int64_t>(std::ceil(13 * scale)) : 0;

  std::vector<Tensor> scaled;
  std::int64_t total = -gap;
  for (const Panel& panel : panels) {
    const double ratio = static_cast<double>(height) / static_cast<double>(panel.image.size(0));
    const auto width = std::max<std::int64_t>(1, std::llround(ratio * static_cast<double>(panel.image.size(1))));
    scaled.push_back(resize(panel.image, height, width, Filter::kLanczos));
    total += width + gap;
  }
  Tensor sheet = Tensor::full({top + height, total, 3}, 255, DType::kU8);
  std::int64_t x = 0;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const std::int64_t width = scaled[i].size(1);
    sheet.slice(0, top, top + height).slice(1, x, x + width).copy_from(scaled[i]);
    Canvas(sheet).text(static_cast<double>(x) + scale, 3 * scale, scale, panels[i].caption, kDark);
    x += width + gap;
  }
  return sheet;
}

}  // namespace usol::io
