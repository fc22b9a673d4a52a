#include "usol/maskcut/components.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// A dense mask on the CPU.
struct View {
  View(const Tensor& mask, const char* op) {
    check(mask.defined() && mask.rank() == 2 && mask.dtype() == DType::kU8, "{}: expected a u8 [h, w] mask, got {}", op,
          mask.defined() ? fmt::format("{} {}", mask.dtype(), mask.shape()) : "nothing");
    tensor = mask.to(Device::cpu()).contiguous();
    height = mask.size(0);
    width = mask.size(1);
    data = tensor.data<std::uint8_t>();
  }

  std::int64_t size() const { return height * width; }

  Tensor tensor;
  std::int64_t height, width;
  const std::uint8_t* data;
};

// Calls visit(pixel) for `start` and for all that four-connected steps reach through pixels where enter(pixel) is
// true. enter must turn false for a pixel once it was visited.
template <class Enter, class Visit>
void flood(const View& view, std::int64_t start, std::vector<std::int64_t>& stack, Enter&& enter, Visit&& visit) {
  visit(start);
  stack.assign(1, start);
  const auto step = [&](std::int64_t next) {
    if (!enter(next)) return;
    visit(next);
    stack.push_back(next);
  };
  while (!stack.empty()) {
    const std::int64_t pixel = stack.back(), column = pixel % view.width;
    stack.pop_back();
    if (pixel >= view.width) step(pixel - view.width);
    if (column > 0) step(pixel - 1);
    if (column + 1 < view.width) step(pixel + 1);
    if (pixel + view.width < view.size()) step(pixel + view.width);
  }
}

Tensor select_label(const Components& components, std::int64_t label) {
  Tensor selected = Tensor::zeros(components.labels.shape(), DType::kU8);
  const std::int32_t* labels = components.labels.data<std::int32_t>();
  std::uint8_t* out = selected.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0, pixels = selected.numel(); i < pixels; ++i) out[i] = labels[i] == label;
  return selected;
}

}  // namespace

Components label_components(const Tensor& mask) {
  const View view(mask, "label_components");
  check(view.size() <= std::numeric_limits<std::int32_t>::max(), "label_components: {} pixels are too many",
        view.size());
  Components components;
  components.labels = Tensor::zeros(mask.shape(), DType::kI32);
  components.sizes.assign(1, 0);
  std::int32_t* labels = components.labels.mutable_data<std::int32_t>();
  std::vector<std::int64_t> stack;
  std::int64_t covered = 0;
  for (std::int64_t i = 0; i < view.size(); ++i) {
    if (view.data[i] == 0 || labels[i] != 0) continue;
    const auto label = static_cast<std::int32_t>(++components.count);
    std::int64_t size = 0;
    flood(
        view, i, stack, [&](std::int64_t p) { return view.data[p] != 0 && labels[p] == 0; },
        [&](std::int64_t p) {
          labels[p] = label;
          ++size;
        });
    components.sizes.push_back(size);
    covered += size;
  }
  components.sizes[0] = view.size() - covered;
  return components;
}

Tensor component_of(const Tensor& mask, std::int64_t seed) {
  const View view(mask, "component_of");
  check(seed >= 0 && seed < view.size(), "component_of: expected a seed in [0, {}), got {}", view.size(), seed);
  Tensor component = Tensor::zeros(mask.shape(), DType::kU8);
  if (view.data[seed] == 0) return component;
  std::uint8_t* out = component.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> stack;
  flood(
      view, seed, stack, [&](std::int64_t p) { return view.data[p] != 0 && out[p] == 0; },
      [&](std::int64_t p) { out[p] = 1; });
  return component;
}

Tensor largest_component(const Tensor& mask) {
  const Components components = label_components(mask);
  if (components.count == 0) return Tensor::zeros(mask.shape(), DType::kU8);
  return select_label(
      components, std::max_element(components.sizes.begin() + 1, components.sizes.end()) - components.sizes.begin());
}

Tensor fill_holes(const Tensor& mask) {
  const View view(mask, "fill_holes");
  // 1 everywhere, then 0 where background is reached from the border.
  Tensor filled = Tensor::full(mask.shape(), 1, DType::kU8);
  std::uint8_t* out = filled.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> stack;
  const auto from_border = [&](std::int64_t i) {
    if (view.data[i] != 0 || out[i] == 0) return;
    flood(
        view, i, stack, [&](std::int64_t p) { return view.data[p] == 0 && out[p] != 0; },
        [&](std::int64_t p) { out[p] = 0; });
  };
  for (std::int64_t x = 0; x < view.width && view.height > 0; ++x) {
    from_border(x);
    from_border((view.height - 1) * view.width + x);
  }
  for (std::int64_t y = 0; y < view.height && view.width > 0; ++y) {
    from_border(y * view.width);
    from_border(y * view.width + view.width - 1);
  }
  return filled;
}

std::int64_t mask_area(const Tensor& mask) {
  const View view(mask, "mask_area");
  return view.size() - std::count(view.data, view.data + view.size(), std::uint8_t{0});
}

double mask_iou(const Tensor& a, const Tensor& b) {
  const View first(a, "mask_iou"), second(b, "mask_iou");
  check(a.shape() == b.shape(), "mask_iou: expected two masks of one shape, got {} and {}", a.shape(), b.shape());
  std::int64_t both = 0, either = 0;
  for (std::int64_t i = 0; i < first.size(); ++i) {
    both += first.data[i] != 0 && second.data[i] != 0;
    either += first.data[i] != 0 || second.data[i] != 0;
  }
  if (either == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(both) / static_cast<double>(either);
}

PixelBox bounding_box(const Tensor& mask) {
  const View view(mask, "bounding_box");
  PixelBox box{view.width, view.height, 0, 0};
  for (std::int64_t y = 0; y < view.height; ++y)
    for (std::int64_t x = 0; x < view.width; ++x) {
      if (view.data[y * view.width + x] == 0) continue;
      box.x0 = std::min(box.x0, x);
      box.x1 = std::max(box.x1, x + 1);
      box.y0 = std::min(box.y0, y);
      box.y1 = y + 1;
    }
  return box.x1 == 0 ? PixelBox{} : box;
}

}  // namespace usol::maskcut
