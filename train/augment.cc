#include "usol/train/augment.h"

#include <algorithm>
#include <array>
#include <utility>

#include "usol/io/resize.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/tensor/check.h"

namespace usol::train {
namespace {

constexpr float kLeastSide = 1e-5F;  // of a box, in pixels

// Mirrors each row of [rows, width, channels] bytes.
void mirror(std::uint8_t* pixels, std::int64_t rows, std::int64_t width, std::int64_t channels) {
  for (std::int64_t y = 0; y < rows; ++y) {
    std::uint8_t* row = pixels + y * width * channels;
    for (std::int64_t l = 0, r = width - 1; l < r; ++l, --r)
      std::swap_ranges(row + l * channels, row + (l + 1) * channels, row + r * channels);
  }
}

bool any(const std::uint8_t* first, std::int64_t count) {
  return std::any_of(first, first + count, [](std::uint8_t v) { return v != 0; });
}

}  // namespace

Tensor boxes_of_masks(const Tensor& masks) {
  check(masks.rank() == 3 && masks.dtype() == DType::kU8, "boxes_of_masks: expected u8 [G, H, W], got {} {}",
        masks.dtype(), masks.shape());
  const Tensor dense = masks.contiguous();
  const std::int64_t n = dense.size(0), height = dense.size(1), width = dense.size(2);
  Tensor boxes = Tensor::zeros({n, 4});
  float* to = boxes.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i, to += 4) {
    const std::uint8_t* mask = dense.data<std::uint8_t>() + i * height * width;
    std::int64_t x0 = width, x1 = 0, y0 = height, y1 = 0;
    for (std::int64_t y = 0; y < height; ++y) {
      const std::uint8_t* row = mask + y * width;
      const std::uint8_t* end = row + width;
      const auto set = [](std::uint8_t v) { return v != 0; };
      const std::uint8_t* left = std::find_if(row, end, set);
      if (left == end) continue;
      const auto right = std::find_if(std::make_reverse_iterator(end), std::make_reverse_iterator(row), set).base();
      x0 = std::min<std::int64_t>(x0, left - row);
      x1 = std::max<std::int64_t>(x1, right - row);
      y0 = std::min(y0, y);
      y1 = y + 1;
    }
    if (y1 == 0) continue;
    to[0] = static_cast<float>(x0);
    to[1] = static_cast<float>(y0);
    to[2] = static_cast<float>(x1);
    to[3] = static_cast<float>(y1);
  }
  return boxes;
}

Sample with_objects(const Sample& sample, const std::vector<std::int64_t>& objects) {
  const auto n = static_cast<std::int64_t>(objects.size());
  Sample result{sample.image,
                Tensor::empty({n, sample.masks.size(1), sample.masks.size(2)}, DType::kU8),
                Tensor::empty({n, 4}),
                {}};
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t from = objects[static_cast<std::size_t>(i)];
    result.masks.select(0, i).copy_from(sample.masks.select(0, from));
    result.boxes.select(0, i).copy_from(sample.boxes.select(0, from));
    result.classes.push_back(sample.classes.at(static_cast<std::size_t>(from)));
  }
  return result;
}

Sample transformed(const Sample& sample, std::int64_t height, std::int64_t width, bool flip) {
  const double scale_x = static_cast<double>(width) / static_cast<double>(sample.width());
  const double scale_y = static_cast<double>(height) / static_cast<double>(sample.height());
  Sample result;
  result.image = resize(sample.image, height, width, Filter::kBilinear).clone();
  if (flip) mirror(result.image.mutable_data<std::uint8_t>(), height, width, 3);
  const std::vector<float> boxes = sample.boxes.to_vector<float>();
  std::vector<Tensor> masks;
  std::vector<float> kept;
  for (std::int64_t i = 0; i < sample.size(); ++i) {
    const float* box = boxes.data() + 4 * i;
    std::array<double, 4> b{static_cast<double>(box[0]) * scale_x, static_cast<double>(box[1]) * scale_y,
                            static_cast<double>(box[2]) * scale_x, static_cast<double>(box[3]) * scale_y};
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    if (flip) b = {w - b[2], b[1], w - b[0], b[3]};
    const std::array<float, 4> clipped{
        static_cast<float>(std::clamp(b[0], 0.0, w)), static_cast<float>(std::clamp(b[1], 0.0, h)),
        static_cast<float>(std::clamp(b[2], 0.0, w)), static_cast<float>(std::clamp(b[3], 0.0, h))};
    if (clipped[2] - clipped[0] <= kLeastSide || clipped[3] - clipped[1] <= kLeastSide) continue;
    Tensor mask = resize(sample.masks.select(0, i), height, width, Filter::kNearest).clone();
    if (!any(mask.data<std::uint8_t>(), mask.numel())) continue;
    if (flip) mirror(mask.mutable_data<std::uint8_t>(), height, width, 1);
    masks.push_back(std::move(mask));
    kept.insert(kept.end(), clipped.begin(), clipped.end());
    result.classes.push_back(sample.classes[static_cast<std::size_t>(i)]);
  }
  const auto n = static_cast<std::int64_t>(masks.size());
  result.boxes = Tensor::from(kept, {n, 4});
  result.masks = Tensor::empty({n, height, width}, DType::kU8);
  for (std::int64_t i = 0; i < n; ++i) result.masks.select(0, i).copy_from(masks[static_cast<std::size_t>(i)]);
  return result;
}

Sample augmented(const Sample& sample, const AugmentOptions& options, Generator& generator) {
  check(!options.short_sides.empty(), "augment: no short sides to choose from");
  const std::int64_t short_side = options.short_sides[generator.below(options.short_sides.size())];
  const rcnn::ImageSize size = network_size({sample.height(), sample.width()}, short_side, options.long_side);
  return transformed(sample, size.height, size.width, static_cast<double>(generator.uniform()) < options.flip);
}

}  // namespace usol::train
