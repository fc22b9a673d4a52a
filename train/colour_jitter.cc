#include "usol/train/colour_jitter.h"

#include <cstddef>
#include <utility>

#include "usol/io/adjust.h"

namespace usol::train {

ColourJitter draw_jitter(const JitterRanges& ranges, Generator& generator) {
  ColourJitter jitter;
  for (std::size_t i = jitter.order.size() - 1; i > 0; --i)
    std::swap(jitter.order[i], jitter.order[generator.below(i + 1)]);
  jitter.brightness = generator.uniform(1 - ranges.brightness, 1 + ranges.brightness);
  jitter.contrast = generator.uniform(1 - ranges.contrast, 1 + ranges.contrast);
  jitter.saturation = generator.uniform(1 - ranges.saturation, 1 + ranges.saturation);
  jitter.hue = generator.uniform(-ranges.hue, ranges.hue);
  return jitter;
}

void apply(const ColourJitter& jitter, Tensor& image) {
  for (const int which : jitter.order) {
    if (which == 0) io::adjust_brightness(image, jitter.brightness);
    if (which == 1) io::adjust_contrast(image, jitter.contrast);
    if (which == 2) io::adjust_saturation(image, jitter.saturation);
    if (which == 3) io::adjust_hue(image, jitter.hue);
  }
}

}  // namespace usol::train
