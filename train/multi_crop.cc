#include "usol/train/multi_crop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "usol/io/adjust.h"
#include "usol/io/resize.h"
#include "usol/tensor/check.h"
#include "usol/train/draws.h"

namespace usol::train {
namespace {

constexpr double kLeastRatio = 3.0 / 4, kMostRatio = 4.0 / 3;  // of a crop's width to its height
constexpr int kAttempts = 10;
constexpr JitterRanges kJitter{.brightness = 0.4, .contrast = 0.4, .saturation = 0.2, .hue = 0.1};
constexpr double kLeastBlur = 0.1, kMostBlur = 2;  // px
constexpr double kLeastMask = 0.1, kMostMask = 0.5, kMaskRatio = 0.3;

// [n, side, side, 3]
Tensor made(const Tensor& image, const CropParameters* first, std::int64_t n, std::int64_t side) {
  Tensor result = Tensor::empty({n, side, side, 3}, DType::kU8);
  for (std::int64_t i = 0; i < n; ++i) result.select(0, i).copy_from(make_crop(image, first[i], side));
  return result;
}

}  // namespace

void MultiCropOptions::check_valid() const {
  check(global_px > 0 && local_px > 0 && locals >= 0, ErrorKind::kUsage,
        "crops: expected sides above 0 and no negative number of locals, got {}, {} and {}", global_px, local_px,
        locals);
  for (const auto& scale : {global_scale, local_scale})
    check(scale.size() == 2 && scale[0] > 0 && scale[0] <= scale[1] && scale[1] <= 1, ErrorKind::kUsage,
          "crops: expected a scale of two ascending shares of the area, above 0 and at most 1, got {}",
          fmt::join(scale, ", "));
}

CropParameters draw_box(Size picture, const std::vector<double>& scale, Generator& generator) {
  const auto height = static_cast<double>(picture.height), width = static_cast<double>(picture.width);
  CropParameters crop;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double area = height * width * generator.uniform(scale[0], scale[1]);
    const double ratio = std::exp(generator.uniform(std::log(kLeastRatio), std::log(kMostRatio)));
    crop.width = rounded(std::sqrt(area * ratio));
    crop.height = rounded(std::sqrt(area / ratio));
    if (crop.width < 1 || crop.height < 1 || crop.width > picture.width || crop.height > picture.height) continue;
    crop.top = at_most(picture.height - crop.height, generator);
    crop.left = at_most(picture.width - crop.width, generator);
    return crop;
  }
  crop.width = std::min(picture.width, std::max<std::int64_t>(1, rounded(height * kMostRatio)));
  crop.height = std::min(picture.height, std::max<std::int64_t>(1, rounded(width / kLeastRatio)));
  crop.top = (picture.height - crop.height) / 2;
  crop.left = (picture.width - crop.width) / 2;
  return crop;
}

std::vector<CropParameters> draw_crops(Size picture, const MultiCropOptions& options, Generator& generator) {
  std::vector<CropParameters> crops;
  for (std::int64_t i = 0; i < 2 + options.locals; ++i) {
    CropParameters crop = draw_box(picture, i < 2 ? options.global_scale : options.local_scale, generator);
    crop.flip = happens(options.flip, generator);
    crop.jittered = happens(options.jitter, generator);
    crop.jitter = draw_jitter(kJitter, generator);
    crop.grey = happens(options.grey, generator);
    const bool blurred = happens(options.blur[static_cast<std::size_t>(std::min<std::int64_t>(i, 2))], generator);
    const double radius = generator.uniform(kLeastBlur, kMostBlur);
    crop.blur = blurred ? radius : 0;
    crop.solarize = i == 1 && happens(options.solarize, generator);
    crops.push_back(crop);
  }
  return crops;
}

Tensor make_crop(const Tensor& image, const CropParameters& crop, std::int64_t side) {
  const Tensor box = image.slice(0, crop.top, crop.top + crop.height).slice(1, crop.left, crop.left + crop.width);
  Tensor result = io::resize(box.contiguous(), side, side, io::Filter::kBicubic).clone();
  if (crop.flip) io::flip_left_right(result);
  if (crop.jittered) apply(crop.jitter, result);
  if (crop.grey) io::to_grey(result);
  io::gaussian_blur(result, crop.blur);
  if (crop.solarize) io::solarize(result);
  return result;
}

Crops multi_crop(const Tensor& image, const MultiCropOptions& options, Generator& generator) {
  const auto crops = draw_crops({image.size(0), image.size(1)}, options, generator);
  Crops result;
  result.globals = made(image, crops.data(), 2, options.global_px);
  if (options.locals > 0) result.locals = made(image, crops.data() + 2, options.locals, options.local_px);
  return result;
}

Tensor draw_block_mask(std::int64_t h, std::int64_t w, Generator& generator) {
  Tensor mask = Tensor::zeros({h, w}, DType::kU8);
  const bool none = happens(0.5, generator);
  const double share = generator.uniform(kLeastMask, kMostMask);
  if (none) return mask;
  std::uint8_t* cells = mask.mutable_data<std::uint8_t>();
  const auto wanted = std::max<std::int64_t>(1, rounded(share * static_cast<double>(h * w)));
  std::int64_t count = 0;
  // Blocks that would hide too much are drawn again, in the end single patches.
  for (int attempt = 0; count < wanted; ++attempt) {
    const auto left = static_cast<double>(wanted - count);
    const double side = static_cast<double>(std::min(h, w) / 3);
    const double area = attempt < kAttempts ? generator.uniform(std::min(side * side, left), left) : 1;
    const double tilt = generator.uniform(std::log(kMaskRatio), -std::log(kMaskRatio));
    const double ratio = attempt < kAttempts ? std::exp(tilt) : 1;
    const auto rows = std::clamp<std::int64_t>(rounded(std::sqrt(area * ratio)), 1, h);
    const auto columns = std::clamp<std::int64_t>(rounded(std::sqrt(area / ratio)), 1, w);
    const std::int64_t top = at_most(h - rows, generator), first = at_most(w - columns, generator);
    std::vector<std::uint8_t*> fresh;
    for (std::int64_t y = top; y < top + rows; ++y)
      for (std::int64_t x = first; x < first + columns; ++x)
        if (cells[y * w + x] == 0) fresh.push_back(cells + y * w + x);
    const auto more = static_cast<std::int64_t>(fresh.size());
    if (more == 0 || more > wanted - count) continue;
    for (std::uint8_t* cell : fresh) *cell = 1;
    count += more;
    attempt = 0;
  }
  return mask;
}

}  // namespace usol::train
