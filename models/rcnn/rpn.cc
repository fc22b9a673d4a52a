#include "usol/models/rcnn/rpn.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "usol/autograd/grad_mode.h"
#include "usol/models/rcnn/matcher.h"
#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/nms.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/ops/regression_loss.h"
#include "usol/ops/topk.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {
namespace {

// Anchors at a place.
std::int64_t anchors_of(const RpnConfig& config) {
  return static_cast<std::int64_t>(std::size(kAnchorRatios) * config.anchor_sizes.size());
}

// The best candidates of one level and one picture, decoded.
struct Candidates {
  Tensor boxes, logits, level;
};

Candidates best_of_level(const BoxCoder& coder, const Tensor& anchors, const Tensor& logits, const Tensor& deltas,
                         std::int64_t most, std::int64_t level) {
  const TopK top = topk(logits.to(DType::kF32), std::min(most, logits.size(0)));
  const Tensor boxes = coder.decode(index_select(deltas, top.indices), index_select(anchors, top.indices));
  return {boxes, top.values, Tensor::full({boxes.size(0)}, static_cast<double>(level), DType::kI64, boxes.device())};
}

Candidates keep(const Candidates& c, const Tensor& mask) {
  const Tensor rows = nonzero(mask);
  if (rows.numel() == c.boxes.size(0)) return c;
  return {index_select(c.boxes, rows), index_select(c.logits, rows), index_select(c.level, rows)};
}

}  // namespace

Rpn::Rpn(const Scope& scope, const RpnConfig& config)
    : config_(config),
      objectness_(scope / "rpn_head" / "objectness_logits", config.channels, anchors_of(config), 1,
                  {.init = init::normal(0.01f)}),
      deltas_(scope / "rpn_head" / "anchor_deltas", config.channels, 4 * anchors_of(config), 1,
              {.init = init::normal(0.01f)}) {
  const Scope conv = scope / "rpn_head" / "conv";
  for (std::int64_t i = 0; i < config.convolutions; ++i)
    convolutions_.emplace_back(config.convolutions == 1 ? conv : conv / ("conv" + std::to_string(i)), config.channels,
                               config.channels, 3,
                               nn::ConvConfig{.padding = 1, .relu = true, .init = init::normal(0.01f)});
}

Rpn::Output Rpn::predict(const std::vector<Tensor>& features, const Context& context) const {
  Output output;
  for (const Tensor& feature : features) {
    Tensor hidden = feature;
    for (const nn::Conv2d& layer : convolutions_) hidden = layer(hidden, context);
    const std::int64_t n = feature.size(0);
    output.logits.push_back(reshape(permute(objectness_(hidden, context), {0, 2, 3, 1}), {n, -1}));
    // Channels are (size, ratio, coordinate).
    output.deltas.push_back(reshape(permute(deltas_(hidden, context), {0, 2, 3, 1}), {n, -1, 4}));
  }
  return output;
}

std::vector<Tensor> Rpn::anchors(const std::vector<Tensor>& features) const {
  std::vector<Tensor> result;
  for (std::size_t l = 0; l < features.size(); ++l) {
    const auto level = static_cast<int>(l);
    std::vector<double> sizes;
    for (const double size : config_.anchor_sizes) sizes.push_back(std::ldexp(config_.first_anchor_px * size, level));
    result.push_back(level_anchors(features[l].size(2), features[l].size(3), config_.first_stride_px << level, sizes,
                                   features[l].device()));
  }
  return result;
}

std::vector<Proposals> Rpn::proposals(const std::vector<Tensor>& anchors, const Output& output,
                                      const std::vector<Size>& sizes, bool training) const {
  const NoGrad no_grad;
  const std::int64_t most = training ? config_.pre_nms_train : config_.pre_nms_test;
  const std::int64_t wanted = training ? config_.post_nms_train : config_.post_nms_test;
  std::vector<Proposals> result;
  for (std::size_t n = 0; n < sizes.size(); ++n) {
    std::vector<Tensor> boxes, logits, levels;
    for (std::size_t l = 0; l < anchors.size(); ++l) {
      const auto image = static_cast<std::int64_t>(n);
      const Candidates c =
          best_of_level(coder_, anchors[l], output.logits[l].detach().select(0, image),
                        output.deltas[l].detach().select(0, image), most, static_cast<std::int64_t>(l));
      boxes.push_back(c.boxes);
      logits.push_back(c.logits);
      levels.push_back(c.level);
    }
    Candidates all{concat(boxes), concat(logits), concat(levels)};
    const std::int64_t before = all.boxes.size(0);
    all = keep(all, logical_and(finite_rows(all.boxes), finite_rows(all.logits.unsqueeze(1))));
    if (training && all.boxes.size(0) != before)
      throw Diverged(ErrorKind::kInvalidArgument,
                     fmt::format("rpn: {} predictions of picture {} of the batch are not finite: training has diverged",
                                 before - all.boxes.size(0), n));
    all.boxes = clip(all.boxes, sizes[n]);
    all = keep(all, nonempty(all.boxes));
    const Tensor kept = batched_nms(all.boxes, all.logits, all.level, config_.nms);
    const Tensor first = kept.slice(0, 0, std::min(wanted, kept.size(0)));
    result.push_back({index_select(all.boxes, first), index_select(all.logits, first)});
  }
  return result;
}

RpnLosses Rpn::losses(const std::vector<Tensor>& anchors, const Output& output, const std::vector<Truths>& truths,
                      const Sampler& sampler, const Context& context) const {
  const Tensor all = concat(anchors);
  const std::int64_t count = all.size(0), images = static_cast<std::int64_t>(truths.size());
  std::vector<Tensor> chosen, positive, targets, positive_anchors, labels;
  for (std::int64_t n = 0; n < images; ++n) {
    const Truths& of_image = truths[static_cast<std::size_t>(n)];
    const Matches matches = match_boxes(
        of_image.boxes, all, {.low = config_.negative_below, .high = config_.positive_from, .low_quality = true});
    const SampledIndices sampled = sampler(
        matches.label, {.count = config_.samples, .positive_fraction = 0.5, .background = kNegative, .picture = n});
    const auto rows = [&](const Tensor& indices) {  // of all pictures' anchors
      const Tensor at = indices.to(all.device());
      return index_select(
          Tensor::arange(images * count, DType::kI64, all.device()).slice(0, n * count, (n + 1) * count), at);
    };
    for (const bool is_positive : {true, false}) {
      const Tensor& indices = is_positive ? sampled.positive : sampled.negative;
      chosen.push_back(rows(indices));
      labels.push_back(Tensor::full({indices.numel()}, is_positive ? 1 : 0, DType::kF32, all.device()));
    }
    if (of_image.boxes.size(0) == 0) continue;
    const Tensor at = sampled.positive.to(all.device());
    positive.push_back(rows(sampled.positive));
    targets.push_back(index_select(of_image.boxes, index_select(matches.truth, at)));
    positive_anchors.push_back(index_select(all, at));
  }
  const double pictures = sum_over_ranks(static_cast<double>(images), context.ranks);
  const double share = 1.0 / (static_cast<double>(config_.samples) * pictures);
  const Tensor logits = reshape(cast(concat(output.logits, 1), DType::kF32), {images * count});
  const Tensor deltas = reshape(cast(concat(output.deltas, 1), DType::kF32), {images * count, 4});
  RpnLosses losses;
  losses.cls =
      affine(sum(binary_cross_entropy_with_logits(index_select(logits, concat(chosen)), concat(labels))), share);
  if (positive.empty()) {  // no picture has truths: a zero that gradients flow through all the same
    losses.loc = affine(sum(slice(deltas, 0, 0, 0)), share);
  } else {
    const Tensor wanted = coder_.encode(concat(positive_anchors), concat(targets));
    losses.loc = affine(sum(l1_loss(index_select(deltas, concat(positive)), wanted)), share);
  }
  return losses;
}

}  // namespace usol::rcnn
