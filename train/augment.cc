#include "usol/train/augment.h"

#include <algorithm>
#include <array>
#include <utility>

#include "usol/io/resize.h"
#include "usol/io/rle.h"
#include "usol/io/rle_write.h"
#include "usol/models/detector.h"
#include "usol/tensor/check.h"
#include "usol/train/bit_mask.h"
#include "usol/train/zero_masks.h"

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

// A dense mask, and a box outside of which it is 0.
struct Placed {
  const std::uint8_t* pixels;
  PixelBox box;
};

// Writes a mask of rows of `width` pixels at another size (nearest), mirrored if asked, into zeros `to`
// u8 [rows.size(), columns.size()]: pixel (y, x) is that at (rows[y], columns[x]), or 0 if either is -1. The
// room it takes; empty if nothing of it is left.
PixelBox move_mask(const Placed& mask, std::int64_t width, const std::vector<std::int64_t>& rows,
                   const std::vector<std::int64_t>& columns, bool flip, std::uint8_t* to) {
  const auto inside = [](const std::vector<std::int64_t>& samples, std::int64_t low, std::int64_t high) {
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < samples.size(); ++i)
      if (samples[i] >= low && samples[i] < high) result.push_back(i);
    return result;
  };
  const std::vector<std::size_t> xs = inside(columns, mask.box.x0, mask.box.x1),
                                 ys = inside(rows, mask.box.y0, mask.box.y1);
  if (xs.empty() || ys.empty()) return {};
  std::uint8_t all = 0;
  for (const std::size_t y : ys)
    for (const std::size_t x : xs) {
      const std::uint8_t value = mask.pixels[rows[y] * width + columns[x]];
      to[y * columns.size() + (flip ? columns.size() - 1 - x : x)] = value;
      all |= value;
    }
  if (all == 0) return {};
  const auto x0 = static_cast<std::int64_t>(xs.front()), x1 = static_cast<std::int64_t>(xs.back()) + 1;
  const auto full = static_cast<std::int64_t>(columns.size());
  return {flip ? full - x1 : x0, static_cast<std::int64_t>(ys.front()), flip ? full - x0 : x1,
          static_cast<std::int64_t>(ys.back()) + 1};
}

// The masks of a sample one after another, each valid until the next is asked for.
class DenseMasks {
 public:
  explicit DenseMasks(const Sample& sample) : masks_(sample.masks.defined() ? sample.masks.contiguous() : Tensor()) {}
  bool any() const { return masks_.defined(); }
  Placed operator()(std::int64_t i) {
    const std::int64_t height = masks_.size(1), width = masks_.size(2);
    const std::uint8_t* pixels = std::as_const(masks_).data<std::uint8_t>() + i * height * width;
    return {pixels, tight_box(pixels, height, width)};
  }

 private:
  Tensor masks_;
};

// Runs are written into one picture's memory, which is cleared only where the last mask was.
class DecodedMasks {
 public:
  explicit DecodedMasks(const CompactSample& sample) : sample_(sample) {
    if (sample.has_masks) pixels_ = Tensor::zeros({sample.height(), sample.width()}, DType::kU8);
  }
  bool any() const { return sample_.has_masks; }
  Placed operator()(std::int64_t i) {
    const io::Rle& rle = sample_.masks[static_cast<std::size_t>(i)];
    check(rle.height == sample_.height() && rle.width == sample_.width(),
          "augment: expected a mask of the picture's {} x {} pixels (height x width), got {} x {}", sample_.height(),
          sample_.width(), rle.height, rle.width);
    std::uint8_t* pixels = pixels_.mutable_data<std::uint8_t>();
    for (std::int64_t y = box_.y0; y < box_.y1; ++y)
      std::fill(pixels + y * rle.width + box_.x0, pixels + y * rle.width + box_.x1, std::uint8_t{0});
    io::rle_write(rle, pixels);
    const auto [left, top, width, height] = io::rle_to_box(rle);
    const auto x0 = static_cast<std::int64_t>(left), y0 = static_cast<std::int64_t>(top);
    box_ = {x0, y0, x0 + static_cast<std::int64_t>(width), y0 + static_cast<std::int64_t>(height)};
    return {pixels, box_};
  }

 private:
  const CompactSample& sample_;
  Tensor pixels_;
  PixelBox box_;
};

// transformed() of a sample with these masks.
template <class AnySample, class Masks>
Sample moved(const AnySample& sample, std::int64_t height, std::int64_t width, bool flip, Masks masks_of) {
  const double scale_x = static_cast<double>(width) / static_cast<double>(sample.width());
  const double scale_y = static_cast<double>(height) / static_cast<double>(sample.height());
  Sample result;
  result.file_height = sample.height();
  result.image = resize(sample.image, height, width, io::Filter::kBilinear).clone();
  if (flip) mirror(result.image.template mutable_data<std::uint8_t>(), height, width, 3);
  const std::vector<std::int64_t> rows = io::nearest_samples(sample.height(), height),
                                  columns = io::nearest_samples(sample.width(), width);
  const std::vector<float> boxes = sample.boxes.template to_vector<float>();
  Tensor masks = masks_of.any() ? zero_masks(sample.size(), height, width) : Tensor();
  std::uint8_t* to = masks_of.any() ? masks.mutable_data<std::uint8_t>() : nullptr;
  std::vector<float> kept;
  std::vector<std::int64_t> objects;  // that stay
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
    if (masks_of.any()) {
      const PixelBox room = move_mask(masks_of(i), sample.width(), rows, columns, flip, to);
      if (room.empty()) continue;
      result.rooms.push_back(room);
      to += height * width;
    }
    kept.insert(kept.end(), clipped.begin(), clipped.end());
    objects.push_back(i);
    result.classes.push_back(sample.classes[static_cast<std::size_t>(i)]);
  }
  result.boxes = Tensor::from(kept, {result.size(), 4});
  result.embeddings = rows_at(sample.embeddings, objects);
  if (masks_of.any()) result.masks = masks.slice(0, 0, result.size());
  return result;
}

template <class AnySample>
Sample moved_at_random(const AnySample& sample, const AugmentOptions& options, Generator& generator) {
  check(!options.short_sides.empty(), "augment: no short sides to choose from");
  const std::int64_t short_side = options.short_sides[generator.below(options.short_sides.size())];
  const Size size = network_size({sample.height(), sample.width()}, short_side, options.long_side);
  return transformed(sample, size.height, size.width, static_cast<double>(generator.uniform()) < options.flip);
}

}  // namespace

Tensor boxes_of_masks(const Tensor& masks) {
  check(masks.rank() == 3 && masks.dtype() == DType::kU8, "boxes_of_masks: expected u8 [G, H, W], got {} {}",
        masks.dtype(), masks.shape());
  const Tensor dense = masks.contiguous();
  const std::int64_t n = dense.size(0), height = dense.size(1), width = dense.size(2);
  Tensor boxes = Tensor::empty({n, 4});
  float* to = boxes.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    const PixelBox box = tight_box(dense.data<std::uint8_t>() + i * height * width, height, width);
    for (const std::int64_t side : {box.x0, box.y0, box.x1, box.y1}) *to++ = static_cast<float>(side);
  }
  return boxes;
}

Sample with_objects(const Sample& sample, const std::vector<std::int64_t>& objects) {
  const auto n = static_cast<std::int64_t>(objects.size());
  Sample result{sample.image,
                Tensor::empty({n, sample.masks.size(1), sample.masks.size(2)}, DType::kU8),
                Tensor::empty({n, 4}),
                {}};
  result.file_height = sample.file_height;
  result.embeddings = rows_at(sample.embeddings, objects);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t from = objects[static_cast<std::size_t>(i)];
    result.masks.select(0, i).copy_from(sample.masks.select(0, from));
    result.boxes.select(0, i).copy_from(sample.boxes.select(0, from));
    result.classes.push_back(sample.classes.at(static_cast<std::size_t>(from)));
  }
  return result;
}

Sample transformed(const Sample& sample, std::int64_t height, std::int64_t width, bool flip) {
  return moved(sample, height, width, flip, DenseMasks(sample));
}

Sample transformed(const CompactSample& sample, std::int64_t height, std::int64_t width, bool flip) {
  return moved(sample, height, width, flip, DecodedMasks(sample));
}

Sample augmented(const Sample& sample, const AugmentOptions& options, Generator& generator) {
  return moved_at_random(sample, options, generator);
}

Sample augmented(const CompactSample& sample, const AugmentOptions& options, Generator& generator) {
  return moved_at_random(sample, options, generator);
}

}  // namespace usol::train
