#include "usol/train/copy_paste.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <numeric>
#include <utility>

#include "usol/ops/concat.h"
#include "usol/tensor/check.h"
#include "usol/train/augment.h"
#include "usol/train/bit_mask.h"
#include "usol/train/zero_masks.h"

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

// The source as it is stretched over the pasted picture, bilinear without low-pass, pixel by pixel.
class Stretched {
 public:
  Stretched(const Sample& source, std::int64_t height, std::int64_t width)
      : image_(source.image.contiguous()),
        columns_(taps_of(source.width(), width)),
        rows_(taps_of(source.height(), height)) {
    for (const Taps& x : columns_) touched_columns_.push_back(touched(x));
    for (const Taps& y : rows_) touched_rows_.push_back(touched(y));
  }

  /// Writes the three colours at (y, x), truncated to 8 bits.
  void colours(std::int64_t y, std::int64_t x, std::uint8_t* to) const {
    const Taps &at_y = rows_[static_cast<std::size_t>(y)], &at_x = columns_[static_cast<std::size_t>(x)];
    const std::uint8_t* pixels = image_.data<std::uint8_t>();
    const std::uint8_t *upper = pixels + at_y.first * 3 * image_.size(1),
                       *lower = pixels + at_y.second * 3 * image_.size(1);
    const std::int64_t left = 3 * at_x.first, right = 3 * at_x.second;
    for (std::int64_t c = 0; c < 3; ++c)
      to[c] =
          static_cast<std::uint8_t>(at_y.first_weight * (at_x.first_weight * static_cast<float>(upper[left + c]) +
                                                         at_x.second_weight * static_cast<float>(upper[right + c])) +
                                    at_y.second_weight * (at_x.first_weight * static_cast<float>(lower[left + c]) +
                                                          at_x.second_weight * static_cast<float>(lower[right + c])));
  }

  /// A mask u8 [H, W] of the source, 0 outside of `box`, in the target's frame: wherever its stretched value is not 0,
  /// that is where any of the pixels that weigh in is set. (No weight is so small that a product of two would vanish.)
  BitMask mask(const std::uint8_t* mask, const PixelBox& box, std::int64_t paste_x, std::int64_t paste_y) const {
    const std::int64_t source_width = image_.size(1);
    const auto [y0, y1] = range(touched_rows_, box.y0, box.y1);
    const auto [x0, x1] = range(touched_columns_, box.x0, box.x1);
    BitMask placed({x0 + paste_x, y0 + paste_y, x1 + paste_x, y1 + paste_y});
    if (box.empty()) return placed;
    for (std::int64_t y = y0; y < y1; ++y) {
      const auto [above, below] = touched_rows_[static_cast<std::size_t>(y)];
      const std::uint8_t *upper = mask + above * source_width, *lower = mask + below * source_width;
      std::uint64_t* words = placed.row(y + paste_y);
      for (std::int64_t x = x0; x < x1; ++x) {
        const auto [left, right] = touched_columns_[static_cast<std::size_t>(x)];
        const std::int64_t at = x + paste_x;
        words[at / BitMask::kBits - placed.first_word()] |=
            static_cast<std::uint64_t>((upper[left] | upper[right] | lower[left] | lower[right]) != 0)
            << at % BitMask::kBits;
      }
    }
    return placed;
  }

 private:
  // The first and last pixel that weigh in; both grow along an axis.
  struct Touched {
    std::int64_t first, last;
  };
  static Touched touched(const Taps& taps) {
    return {taps.first_weight != 0 ? taps.first : taps.second, taps.second_weight != 0 ? taps.second : taps.first};
  }
  // Where along the stretched axis pixels low ... high - 1 of the source weigh in.
  static std::pair<std::int64_t, std::int64_t> range(const std::vector<Touched>& axis, std::int64_t low,
                                                     std::int64_t high) {
    const auto first = std::partition_point(axis.begin(), axis.end(), [&](const Touched& t) { return t.last < low; });
    const auto last = std::partition_point(first, axis.end(), [&](const Touched& t) { return t.first < high; });
    return {first - axis.begin(), last - axis.begin()};
  }

  Tensor image_;
  std::vector<Taps> columns_, rows_;
  std::vector<Touched> touched_columns_, touched_rows_;
};

// A mask of the picture that is pasted into, with what is asked of it again and again.
struct Existing {
  BitMask mask;
  std::int64_t area = 0;
};

// Where a mask of the sample may be set: known, or found by looking at all of it.
PixelBox room_of(const Sample& sample, std::int64_t i, const std::uint8_t* mask) {
  return sample.rooms.empty() ? tight_box(mask, sample.height(), sample.width())
                              : sample.rooms[static_cast<std::size_t>(i)];
}

std::vector<Existing> existing_masks(const Sample& sample) {
  std::vector<Existing> result;
  const Tensor masks = sample.masks.contiguous();
  for (std::int64_t i = 0; i < sample.size(); ++i) {
    const std::uint8_t* pixels = masks.data<std::uint8_t>() + i * sample.height() * sample.width();
    BitMask mask = BitMask::of(pixels, sample.width(), room_of(sample, i, pixels));
    const std::int64_t area = mask.area();
    result.push_back({std::move(mask), area});
  }
  return result;
}

// Whether a pasted object hides too much of one that is there. Most pairs are decided by boxes and areas.
bool covers(const BitMask& pasted, std::int64_t pasted_area, const Existing& existing) {
  const double most = kMostCovered * static_cast<double>(existing.area);
  const std::int64_t shared = common(pasted.room(), existing.mask.room()).pixels();
  if (static_cast<double>(std::min(shared, pasted_area)) < most) return false;
  return static_cast<double>(pasted.overlap(existing.mask)) >= most;
}

std::vector<std::int64_t> all_of(const Sample& sample) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(sample.size()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

// The target's picture with that of the source where any pasted object is.
Tensor pasted_image(const Sample& target, const Stretched& source, const BitMask& where, const Paste& paste) {
  Tensor image = target.image.clone();
  std::uint8_t* pixels = image.mutable_data<std::uint8_t>();
  const PixelBox& room = where.room();
  for (std::int64_t y = room.y0; y < room.y1; ++y) {
    const std::uint64_t* words = where.row(y);
    for (std::int64_t w = 0; w < where.stride(); ++w)
      for (std::uint64_t left = words[w]; left != 0; left &= left - 1) {
        const std::int64_t x = (where.first_word() + w) * BitMask::kBits + std::countr_zero(left);
        source.colours(y - paste.y, x - paste.x, pixels + 3 * (y * target.width() + x));
      }
  }
  return image;
}

// All of these masks, and their boxes, for a picture.
void set_masks(Sample& sample, const std::vector<BitMask>& masks) {
  const auto n = static_cast<std::int64_t>(masks.size());
  const std::int64_t pixels = sample.height() * sample.width();
  sample.masks = zero_masks(n, sample.height(), sample.width());
  std::uint8_t* to = sample.masks.mutable_data<std::uint8_t>();
  std::vector<float> sides;
  for (std::int64_t i = 0; i < n; ++i) {
    const BitMask& mask = masks[static_cast<std::size_t>(i)];
    mask.write(to + i * pixels, sample.width());
    const PixelBox box = mask.box();
    for (const std::int64_t side : {box.x0, box.y0, box.x1, box.y1}) sides.push_back(static_cast<float>(side));
  }
  sample.boxes = Tensor::from(sides, {n, 4});
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
  const std::uint64_t count = options.any_number ? generator.below(n + 1) : n == 1 ? 1 : 1 + generator.below(n - 1);
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

Sample pasted(const Sample& target, const Sample& source, const Paste& paste, Preset preset) {
  const bool release = preset == Preset::kRelease;
  const auto unchanged = [&] {
    Sample same = target;
    if (!release) same.boxes = boxes_of_masks(target.masks);
    return same;
  };
  if (paste.objects.empty()) return unchanged();
  const std::int64_t width = part(paste.ratio, target.width()), height = part(paste.ratio, target.height());
  check(paste.x >= 0 && paste.y >= 0 && paste.x + width <= target.width() && paste.y + height <= target.height(),
        "copy_paste: {} x {} pixels at ({}, {}) leave a picture of {} x {}", width, height, paste.x, paste.y,
        target.width(), target.height());
  check(target.embeddings.defined() == source.embeddings.defined(),
        "copy_paste: one of the two samples has embeddings, the other has none");
  std::vector<Existing> existing = existing_masks(target);
  const Stretched stretched(source, height, width);
  const Tensor source_masks = source.masks.contiguous();

  std::vector<BitMask> masks;
  std::vector<std::int64_t> classes, added, left;                        // `added` of the source, `left` of the target
  BitMask where({paste.x, paste.y, paste.x + width, paste.y + height});  // any pasted object is
  for (std::int64_t object : paste.objects) {
    const std::uint8_t* pixels = source_masks.data<std::uint8_t>() + object * source.height() * source.width();
    BitMask mask = stretched.mask(pixels, room_of(source, object, pixels), paste.x, paste.y);
    const std::int64_t area = mask.area();
    if (!release && area == 0) continue;
    if (std::any_of(existing.begin(), existing.end(), [&](const Existing& e) { return covers(mask, area, e); }))
      continue;
    where.add(mask);
    masks.push_back(std::move(mask));
    classes.push_back(source.classes[static_cast<std::size_t>(object)]);
    added.push_back(object);
  }
  if (masks.empty()) return unchanged();

  Sample result;
  result.file_height = target.file_height;
  result.image = pasted_image(target, stretched, where, paste);
  std::vector<BitMask> all;
  for (std::int64_t i = 0; i < target.size(); ++i) {
    auto& [mask, area] = existing[static_cast<std::size_t>(i)];
    mask.remove(where);
    if (mask.area() == 0) continue;
    all.push_back(std::move(mask));
    result.classes.push_back(target.classes[static_cast<std::size_t>(i)]);
    left.push_back(i);
  }
  std::move(masks.begin(), masks.end(), std::back_inserter(all));
  result.classes.insert(result.classes.end(), classes.begin(), classes.end());
  set_masks(result, all);
  if (target.embeddings.defined())
    result.embeddings = concat({rows_at(target.embeddings, left), rows_at(source.embeddings, added)});
  if (release && target.size() == 0) result.boxes = release_boxes(target, source, paste);
  return result;
}

std::vector<Sample> copy_pasted(const std::vector<Sample>& targets, const std::vector<Sample>& sources,
                                const CopyPasteOptions& options, std::vector<Generator>& generators) {
  const std::size_t n = targets.size();
  check(sources.size() == n && generators.size() == n, "copy_paste: {} targets, {} sources, {} generators", n,
        sources.size(), generators.size());
  for (const std::vector<Sample>* samples : {&targets, &sources})
    for (const Sample& sample : *samples)
      check(sample.masks.defined(), "copy_paste: expected samples with masks, got one of boxes alone");
  std::vector<Sample> result;
  for (std::size_t i = 0; i < n; ++i) {
    const Sample& source = sources[n - 1 - i];
    result.push_back(
        pasted(targets[i], source, choose_paste(targets[i], source, options, generators[i]), options.preset));
  }
  return result;
}

}  // namespace usol::train
