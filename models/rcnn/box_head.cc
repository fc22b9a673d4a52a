#include "usol/models/rcnn/box_head.h"

#include <algorithm>

#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/cross_entropy.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/ops/regression_loss.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {
namespace {

constexpr int kRes5 = 5;

// Of the features that scores and deltas are made of.
std::int64_t last_width(const BoxHeadConfig& c) { return c.res5 ? c.res5->resnet.res2_channels << 3 : c.hidden; }

// Among the boxes of all regions, each region's `count` of them, those of the foreground regions' own classes.
Tensor boxes_of_classes(const Tensor& foreground, const Tensor& classes, std::int64_t count) {
  if (count == 1) return foreground;
  const auto regions = foreground.to_vector<std::int64_t>(), of_region = classes.to_vector<std::int64_t>();
  std::vector<std::int64_t> rows;
  for (const std::int64_t region : regions)
    rows.push_back(region * count + of_region[static_cast<std::size_t>(region)]);
  return Tensor::from(rows, foreground.shape()).to(foreground.device());
}

}  // namespace

BoxHead::BoxHead(const Scope& head, const Scope& predictor, const BoxHeadConfig& c, const BoxCoder& coder)
    : config_(c),
      coder_(coder),
      cls_score_(predictor / "cls_score", last_width(c), c.classes + 1, true, init::normal(0.01f)),
      bbox_pred_(predictor / "bbox_pred", last_width(c), 4 * c.boxes(), true, init::normal(0.001f)) {
  if (c.res5) {
    res5_.emplace(head, c.res5->resnet, kRes5);
    if (c.res5->norm_after) norm_after_.emplace(head / "norm", last_width(c), c.res5->resnet.norm);
    return;
  }
  for (std::int64_t i = 1; i <= c.convolutions; ++i)
    convolutions_.emplace_back(head / ("conv" + std::to_string(i)), c.channels, c.channels, 3,
                               nn::ConvConfig{.padding = 1, .norm = c.norm, .relu = true});
  for (std::int64_t i = 1; i <= c.fully_connected; ++i)
    fully_connected_.emplace_back(head / ("fc" + std::to_string(i)),
                                  i == 1 ? c.channels * c.pooled * c.pooled : c.hidden, c.hidden, true,
                                  init::kaiming_uniform(1));
}

BoxPredictions BoxHead::operator()(const Tensor& pooled, const Context& context) const {
  Tensor hidden = pooled;
  if (res5_) {
    hidden = (*res5_)(pooled, context);
    if (norm_after_) hidden = (*norm_after_)(hidden, context);
    hidden = mean(hidden, {2, 3});
    return {cast(cls_score_(hidden), DType::kF32), cast(bbox_pred_(hidden), DType::kF32)};
  }
  for (const nn::Conv2d& layer : convolutions_) hidden = layer(hidden, context);
  hidden = reshape(hidden, {pooled.size(0), config_.channels * config_.pooled * config_.pooled});
  for (const nn::Linear& layer : fully_connected_) hidden = layer(hidden, Activation::kRelu);
  return {cast(cls_score_(hidden), DType::kF32), cast(bbox_pred_(hidden), DType::kF32)};
}

BoxLosses BoxHead::losses(const BoxPredictions& predictions, const Tensor& boxes, const Tensor& gt_boxes,
                          const Tensor& classes, const Tensor& weights, bool weigh_boxes, Communicator* ranks) const {
  const double regions = sum_over_ranks(static_cast<double>(boxes.size(0)), ranks);
  const double share = 1.0 / std::max(regions, 1.0);
  BoxLosses losses;
  Tensor each = cross_entropy(predictions.logits, classes);
  if (weights.defined()) each = mul(each, weights);
  losses.cls = affine(sum(each), share);
  const Tensor foreground = nonzero(less(classes, static_cast<double>(config_.classes)));
  const Tensor targets = coder_.encode(index_select(boxes, foreground), index_select(gt_boxes, foreground));
  const Tensor own = boxes_of_classes(foreground, classes, config_.boxes());
  Tensor distance =
      l1_loss(index_select(reshape(predictions.deltas, {boxes.size(0) * config_.boxes(), 4}), own), targets);
  if (weights.defined() && weigh_boxes) distance = mul(distance, index_select(weights, foreground).unsqueeze(1));
  losses.reg = affine(sum(distance), share);
  return losses;
}

}  // namespace usol::rcnn
