#include "usol/train/copy_paste.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "usol/tensor/check.h"
#include "usol/train/augment.h"

namespace usol::train {
namespace {

constexpr double kMostCovered = 0.5;  // of an existing object, by one pasted object

// Where a pixel of the stretched picture comes from along one axis, as PyTorch computes it: a scale rounded to f32,
// exact positions. Which weights are exactly 0 decides the border of pasted masks.
struct Taps {
  std::int64_t first, second;
  float first_weight, second_weight;
};

std::vector<Taps> taps_of(std::int64_t from, std::int64_t to) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  std::vector<Taps> taps;
  for (std::int64_t i = 0; i < to; ++i) {
    const double at = std::max(static_cast<double>(scale) * (static_cast<double>(i) + 0.5) - 0.5, 0.0);
    const std::int64_t first = std::min(static_cast<std::int64_t>(at), from - 1);
    const float second_weight = std::min(static_cast<float>(at - static_cast<double>(first)), 1.0F);
    taps.push_back({first, std::min(first + 1, from - 1), 1 - second_weight, second_weight});
  }
  return taps;
}

// Bilinear without low-pass, f32 [height, width, C] of u8 [H, W, C].
Tensor stretched(const Tensor& pixels, std::int64_t height, std::int64_t width) {
  const Tensor dense = pixels.contiguous();
  const std::int64_t channels = dense.size(2), row = dense.size(1) * channels;
  const std::vector<Taps> columns = taps_of(dense.size(1), width), rows = taps_of(dense.size(0), height);
  Tensor result = Tensor::empty({height, width, channels});
  const std::uint8_t* from = dense.data<std::uint8_t>();
  float* to = result.mutable_data<float>();
  for (const Taps& y : rows) {
    const std::uint8_t *upper = from + y.first * row, *lower = from + y.second * row;
    for (const Taps& x : columns) {
      const std::int64_t left = x.first * channels, right = x.second * channels;
      for (std::int64_t c = 0; c < channels; ++c)
        *to++ = y.first_weight * (x.first_weight * static_cast<float>(upper[left + c]) +
                                  x.second_weight * static_cast<float>(upper[right + c])) +
                y.second_weight * (x.first_weight * static_cast<float>(lower[left + c]) +
                                   x.second_weight * static_cast<float>(lower[right + c]));
    }
  }
  return result;
}

// A mask of the source in the target's frame.
Tensor placed_mask(const Tensor& mask, std::int64_t height, std::int64_t width, const Paste& paste,
                   const Sample& target) {
  const Tensor weights = stretched(mask.unsqueeze(2), height, width);
  Tensor placed = Tensor::zeros({target.height(), target.width()}, DType::kU8);
  const float* from = weights.data<float>();
  std::uint8_t* to = placed.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      to[(y + paste.y) * target.width() + x + paste.x] = from[y * width + x] != 0 ? 1 : 0;
  return placed;
}

std::int64_t overlap(const std::uint8_t* a, const std::uint8_t* b, std::int64_t count) {
  std::int64_t both = 0;
  for (std::int64_t i = 0; i < count; ++i) both += a[i] & b[i];
  return both;
}

std::int64_t area(const std::uint8_t* mask, std::int64_t count) { return overlap(mask, mask, count); }

std::vector<std::int64_t> all_of(const Sample& sample) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(sample.size()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

// Both pictures' objects; boxes are the masks'.
Sample joined(const Tensor& image, const Sample& existing, const std::vector<Tensor>& masks,
              const std::vector<std::int64_t>& classes) {
  const std::int64_t before = existing.size(), n = before + static_cast<std::int64_t>(masks.size());
  Sample result{image, Tensor::empty({n, image.size(0), image.size(1)}, DType::kU8), {}, existing.classes};
  if (before > 0) result.masks.slice(0, 0, before).copy_from(existing.masks);
  for (std::int64_t i = before; i < n; ++i)
    result.masks.select(0, i).copy_from(masks[static_cast<std::size_t>(i - before)]);
  result.classes.insert(result.classes.end(), classes.begin(), classes.end());
  result.boxes = boxes_of_masks(result.masks);
  return result;
}

// The boxes that the public code gives objects pasted into an empty picture.
Tensor release_boxes(const Sample& target, const Sample& source, const Paste& paste) {
  const float scale_x =
      static_cast<float>(static_cast<double>(target.width()) / static_cast<double>(source.width()) * paste.ratio);
  const float scale_y =
      static_cast<float>(static_cast<double>(target.height()) / static_cast<double>(source.height()) * paste.ratio);
  std::vector<float> boxes;
  for (std::int64_t object : paste.objects) {
    const auto box = source.boxes.select(0, object).to_vector<float>();
    boxes.push_back(box[0] * scale_x + static_cast<float>(paste.y));
    boxes.push_back(box[1] * scale_y + static_cast<float>(paste.x));
    boxes.push_back(box[2] * scale_x + static_cast<float>(paste.y));
    boxes.push_back(box[3] * scale_y + static_cast<float>(paste.x));
  }
  return Tensor::from(boxes, {static_cast<std::int64_t>(paste.objects.size()), 4});
}

std::int64_t part(double ratio, std::int64_t size) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(ratio * static_cast<double>(size)));
}

}  // namespace

Paste choose_paste(const Sample& target, const Sample& source, const CopyPasteOptions& options, Generator& generator) {
  Paste paste;
  if (source.size() == 0) return paste;
  const auto n = static_cast<std::uint64_t>(source.size());
  const std::uint64_t count = n == 1 ? 1 : 1 + generator.below(n - 1);
  std::vector<std::int64_t> objects = all_of(source);
  for (std::uint64_t i = 0; i < count; ++i) std::swap(objects[i], objects[i + generator.below(n - i)]);
  objects.resize(count);
  paste.objects = std::move(objects);
  paste.ratio = generator.uniform(options.least_ratio, options.most_ratio);
  const std::int64_t free_x = target.width() - part(paste.ratio, target.width());
  const std::int64_t free_y = target.height() - part(paste.ratio, target.height());
  paste.x = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(free_x) + 1));
  paste.y = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(free_y) + 1));
  return paste;
}

Sample pasted(const Sample& target, const Sample& source, const Paste& paste, CopyPastePreset preset) {
  const bool release = preset == CopyPastePreset::kRelease;
  const auto unchanged = [&] {
    Sample same = target;
    if (!release) same.boxes = boxes_of_masks(target.masks);
    return same;
  };
  if (paste.objects.empty()) return unchanged();
  const std::int64_t width = part(paste.ratio, target.width()), height = part(paste.ratio, target.height());
  const std::int64_t pixels = target.height() * target.width();
  check(paste.x >= 0 && paste.y >= 0 && paste.x + width <= target.width() && paste.y + height <= target.height(),
        "copy_paste: {} x {} pixels at ({}, {}) leave a picture of {} x {}", width, height, paste.x, paste.y,
        target.width(), target.height());
  const Tensor existing = target.masks.contiguous();
  const auto existing_mask = [&](std::int64_t i) { return existing.data<std::uint8_t>() + i * pixels; };

  std::vector<Tensor> masks;
  std::vector<std::int64_t> classes;
  for (std::int64_t object : paste.objects) {
    const Tensor mask = placed_mask(source.masks.select(0, object), height, width, paste, target);
    const std::uint8_t* placed = mask.data<std::uint8_t>();
    if (!release && area(placed, pixels) == 0) continue;
    bool covers = false;
    for (std::int64_t i = 0; i < target.size() && !covers; ++i)
      covers = static_cast<double>(overlap(placed, existing_mask(i), pixels)) >=
               kMostCovered * static_cast<double>(area(existing_mask(i), pixels));
    if (covers) continue;
    masks.push_back(mask);
    classes.push_back(source.classes[static_cast<std::size_t>(object)]);
  }
  if (masks.empty()) return unchanged();

  const Tensor pasted_pixels = stretched(source.image, height, width);
  Tensor image = target.image.clone(), left = existing.clone();
  std::uint8_t* to = image.mutable_data<std::uint8_t>();
  std::uint8_t* left_masks = left.mutable_data<std::uint8_t>();
  const float* from = pasted_pixels.data<float>();
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t at = (y + paste.y) * target.width() + x + paste.x;
      if (std::none_of(masks.begin(), masks.end(), [&](const Tensor& m) { return m.data<std::uint8_t>()[at] != 0; }))
        continue;
      for (std::int64_t c = 0; c < 3; ++c) to[3 * at + c] = static_cast<std::uint8_t>(from[3 * (y * width + x) + c]);
      for (std::int64_t i = 0; i < target.size(); ++i) left_masks[i * pixels + at] = 0;
    }
  }
  std::vector<std::int64_t> visible;
  for (std::int64_t i = 0; i < target.size(); ++i)
    if (area(left_masks + i * pixels, pixels) > 0) visible.push_back(i);
  const Sample rest = with_objects({image, left, target.boxes, target.classes}, visible);
  Sample result = joined(image, rest, masks, classes);
  if (release && target.size() == 0) result.boxes = release_boxes(target, source, paste);
  return result;
}

std::vector<Sample> copy_pasted(const std::vector<Sample>& group, const CopyPasteOptions& options,
                                std::vector<Generator>& generators) {
  check(generators.size() == group.size(), "copy_paste: {} pictures, {} generators", group.size(), generators.size());
  std::vector<Sample> result;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const Sample& source = group[group.size() - 1 - i];
    result.push_back(pasted(group[i], source, choose_paste(group[i], source, options, generators[i]), options.preset));
  }
  return result;
}

}  // namespace usol::train
