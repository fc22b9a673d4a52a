#include "usol/models/rcnn/mask_head.h"

#include <algorithm>
#include <string>

#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"

namespace usol::rcnn {

MaskHead::MaskHead(const Scope& scope, const MaskHeadConfig& c)
    : deconv_(scope / "deconv", c.convolutions > 0 ? c.hidden : c.channels, c.hidden, 2, 2, true),
      predictor_(scope / "predictor", c.hidden, c.classes, 1, {.init = init::normal(0.001f)}) {
  for (std::int64_t i = 0; i < c.convolutions; ++i)
    convolutions_.emplace_back(scope / ("mask_fcn" + std::to_string(i + 1)), i == 0 ? c.channels : c.hidden, c.hidden,
                               3, nn::ConvConfig{.padding = 1, .norm = c.norm, .relu = true});
}

Tensor MaskHead::operator()(const Tensor& pooled, const Context& context) const {
  Tensor x = pooled;
  for (const nn::Conv2d& layer : convolutions_) x = layer(x, context);
  return predictor_(deconv_(x), context);
}

Tensor MaskHead::of_class(const Tensor& logits, const Tensor& classes) {
  const std::int64_t r = logits.size(0), k = logits.size(1), m = logits.size(2);
  const Tensor wide = cast(logits, DType::kF32);
  if (k == 1) return reshape(wide, {r, m, m});
  const Tensor planes = reshape(wide, {r, k, m * m});
  return reshape(gather(planes, classes.reshape({r, 1, 1}).expand({r, 1, m * m}).contiguous(), 1), {r, m, m});
}

Tensor MaskHead::loss(const Tensor& logits, const Tensor& targets, Communicator* ranks) {
  const double pixels = sum_over_ranks(static_cast<double>(logits.numel()), ranks);
  const double share = 1.0 / std::max(pixels, 1.0);
  return affine(sum(binary_cross_entropy_with_logits(logits, targets)), share);
}

}  // namespace usol::rcnn
