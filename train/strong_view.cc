#include "usol/train/strong_view.h"

#include <cmath>
#include <utility>

#include "usol/io/adjust.h"
#include "usol/tensor/check.h"
#include "usol/train/draws.h"

namespace usol::train {
namespace {

constexpr int kAttempts = 10;

void erase(Tensor& image, const Erased& where) {
  const std::int64_t height = image.size(0), width = image.size(1);
  check(where.top >= 0 && where.left >= 0 && where.height >= 0 && where.width >= 0 &&
            where.top + where.height <= height && where.left + where.width <= width &&
            static_cast<std::int64_t>(where.noise.size()) == 3 * where.height * where.width,
        "strong_view: {} x {} pixels with {} numbers at ({}, {}) do not fit a picture of {} x {}", where.height,
        where.width, where.noise.size(), where.top, where.left, height, width);
  std::uint8_t* pixels = image.mutable_data<std::uint8_t>();
  const float* noise = where.noise.data();
  for (std::int64_t c = 0; c < 3; ++c)
    for (std::int64_t y = where.top; y < where.top + where.height; ++y)
      for (std::int64_t x = where.left; x < where.left + where.width; ++x)
        pixels[3 * (y * width + x) + c] = static_cast<std::uint8_t>(static_cast<std::int64_t>(*noise++ * 255.0F));
}

}  // namespace

Erased draw_erased(Size picture, const ErasingOptions& options, Generator& generator) {
  const auto pixels = static_cast<double>(picture.height * picture.width);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double area = pixels * generator.uniform(options.least_area, options.most_area);
    const double ratio = std::exp(generator.uniform(std::log(options.least_ratio), std::log(options.most_ratio)));
    Erased erased;
    erased.height = rounded(std::sqrt(area * ratio));
    erased.width = rounded(std::sqrt(area / ratio));
    if (erased.height >= picture.height || erased.width >= picture.width) continue;
    erased.top = at_most(picture.height - erased.height, generator);
    erased.left = at_most(picture.width - erased.width, generator);
    erased.noise.resize(static_cast<std::size_t>(3 * erased.height * erased.width));
    for (float& number : erased.noise) number = generator.normal();
    return erased;
  }
  return {};
}

StrongView draw_strong_view(Size picture, const StrongViewOptions& options, Generator& generator) {
  StrongView view;
  view.jittered = happens(options.jitter, generator);
  if (view.jittered) view.jitter = draw_jitter(options.ranges, generator);
  view.grey = happens(options.grey, generator);
  if (happens(options.blur, generator)) view.blur = generator.uniform(options.least_blur, options.most_blur);
  for (const ErasingOptions& erasing : options.erasings) {
    if (!happens(erasing.probability, generator)) continue;
    Erased erased = draw_erased(picture, erasing, generator);
    if (erased.height > 0 && erased.width > 0) view.erased.push_back(std::move(erased));
  }
  return view;
}

Tensor strong_view(const Tensor& image, const StrongView& view) {
  Tensor result = image.clone();
  if (view.jittered) apply(view.jitter, result);
  if (view.grey) io::to_grey(result);
  io::gaussian_blur(result, view.blur);
  for (const Erased& erased : view.erased) erase(result, erased);
  return result;
}

}  // namespace usol::train
