#include "usol/models/solov2/mask_head.h"

#include <algorithm>
#include <string>

#include "usol/models/solov2/levels.h"
#include "usol/ops/concat.h"
#include "usol/ops/interpolate.h"
#include "usol/tensor/check.h"

namespace usol::solov2 {
namespace {

constexpr std::int64_t kMaskLevels = 4, kWithCoordinates = 3;  // p2 ... p5; p5

}  // namespace

MaskHead::MaskHead(const Scope& scope, const Config& c)
    : conv_pred_(scope / "conv_pred", 0, c.mask_channels, c.kernel_channels, 1, c.norm_groups) {
  for (std::int64_t level = 0; level < kMaskLevels; ++level) {
    const Scope of_level = scope / "convs_all_levels" / level;
    std::vector<NormedConv> convolutions;
    for (std::int64_t j = 0; j < std::max<std::int64_t>(level, 1); ++j) {
      const std::int64_t in = j > 0 ? c.mask_channels : c.channels + (level == kWithCoordinates ? 2 : 0);
      convolutions.emplace_back(of_level / ("conv" + std::to_string(j)), 0, in, c.mask_channels, 3, c.norm_groups);
    }
    levels_.push_back(std::move(convolutions));
  }
}

Tensor MaskHead::operator()(const std::vector<Tensor>& maps, const Context& context) const {
  check(maps.size() >= levels_.size(), "solov2: expected maps p2 ... p5, got {}", maps.size());
  Tensor sum;
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    Tensor x = maps[level];
    if (level == kWithCoordinates) x = concat({x, coordinates(x)}, 1);
    for (const NormedConv& convolution : levels_[level]) {
      x = convolution(x, context);
      if (level > 0) x = interpolate(x, 2 * x.size(2), 2 * x.size(3));
    }
    sum = sum.defined() ? add(sum, x) : x;
  }
  return conv_pred_(sum, context);
}

}  // namespace usol::solov2
