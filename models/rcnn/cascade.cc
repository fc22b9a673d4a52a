#include "usol/models/rcnn/cascade.h"

#include <algorithm>
#include <array>
#include <string>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/rcnn/matcher.h"
#include "usol/models/rcnn/roi_pooler.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/nms.h"
#include "usol/ops/softmax.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {
namespace {

struct Stage {
  double iou;
  std::array<double, 4> weights;  // of the box coder
};
constexpr Stage kStages[] = {{0.5, {10, 10, 5, 5}}, {0.6, {20, 20, 10, 10}}, {0.7, {30, 30, 15, 15}}};

// The same values; the gradient is multiplied on its way back. So the losses of all stages can be added without
// training the features faster. Source: Detectron2, _ScaleGradient.
Tensor scale_gradient(const Tensor& x, double factor) {
  return record("scale_gradient", {x}, x.detach(),
                [factor](const Tensor& grad, const Needs&) { return std::vector<Tensor>{affine(grad, factor)}; });
}

std::vector<std::int64_t> counts_of(const std::vector<Tensor>& boxes) {
  std::vector<std::int64_t> counts;
  for (const Tensor& b : boxes) counts.push_back(b.size(0));
  return counts;
}

std::vector<Tensor> boxes_of(const std::vector<Samples>& samples) {
  std::vector<Tensor> boxes;
  for (const Samples& s : samples) boxes.push_back(s.boxes);
  return boxes;
}

// Class of each box, by its matched truth; `background` for those that match none.
Tensor classes_of(const Matches& matches, const Truths& truths, std::int64_t background) {
  const Tensor none = Tensor::full({}, static_cast<double>(background), DType::kI64, matches.label.device());
  if (truths.boxes.size(0) == 0) return none.expand(matches.label.shape()).contiguous();
  return where(equal(matches.label, static_cast<double>(kPositive)), index_select(truths.classes, matches.truth), none);
}

// One picture's objects: boxes [R, 4], or [R, 4 * classes], and scores [R, classes + 1] of its regions.
Detections choose(Tensor boxes, Tensor scores, const Size& size, const DetectOptions& options) {
  const Tensor valid = logical_and(finite_rows(boxes), finite_rows(scores));
  if (const Tensor rows = nonzero(valid); rows.numel() < boxes.size(0)) {
    boxes = index_select(boxes, rows);
    scores = index_select(scores, rows);
  }
  const std::int64_t classes = scores.size(1) - 1, of_region = boxes.size(1) / 4;
  const Tensor foreground = scores.slice(1, 0, classes).contiguous();
  boxes = clip(boxes.reshape({boxes.size(0) * of_region, 4}), size);
  const Tensor found = nonzero(greater(foreground, options.score));  // row-major: region, class
  std::vector<std::int64_t> row, label;
  for (const std::int64_t i : found.to_vector<std::int64_t>()) {
    row.push_back(of_region == 1 ? i / classes : i);
    label.push_back(i % classes);
  }
  const Device device = boxes.device();
  const Tensor labels = Tensor::from(label, {found.numel()}).to(device);
  boxes = index_select(boxes, Tensor::from(row, {found.numel()}).to(device));
  return best_of(boxes, index_select(foreground.reshape({foreground.numel()}), found), labels, options);
}

}  // namespace

RoiHeads::RoiHeads(const Scope& scope, const RoiHeadsConfig& config) : config_(config) {
  check(config.stages == 1 || config.stages == 3, "roi heads: expected 1 or 3 stages, got {}", config.stages);
  check(config.box.boxes() == 1 || (config.stages == 1 && !config.droploss.preset),
        "roi heads: a box for each of {} classes goes with one stage and without DropLoss", config.box.classes);
  check(!config.box.res5 || (config.stages == 1 && !config.mask),
        "roi heads: those of C4, with res5, have one stage and no masks");
  for (std::int64_t k = 0; k < config.stages; ++k) {
    const auto of_stage = [&](const char* name) { return config.stages == 1 ? scope / name : scope / name / k; };
    box_heads_.emplace_back(of_stage(config.box.res5 ? "res5" : "box_head"), of_stage("box_predictor"), config.box,
                            BoxCoder{kStages[static_cast<std::size_t>(k)].weights});
  }
  if (config.mask) mask_head_.emplace(scope / "mask_head", *config.mask);
}

Tensor RoiHeads::pool(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes, std::int64_t size,
                      bool channels_last) const {
  return pool_regions(features, boxes, size, channels_last, config_.first_stride_px);
}

std::vector<Samples> RoiHeads::sample(const std::vector<Proposals>& proposals, const std::vector<Truths>& truths,
                                      const Sampler& sampler) const {
  check(proposals.size() == truths.size(), "roi heads: proposals of {} pictures, truths of {}", proposals.size(),
        truths.size());
  const NoGrad no_grad;
  std::vector<Samples> result;
  for (std::size_t n = 0; n < proposals.size(); ++n) {
    const Tensor boxes = concat({proposals[n].boxes, truths[n].boxes});
    const Matches matches = match_boxes(truths[n].boxes, boxes, {.low = kStages[0].iou, .high = kStages[0].iou});
    const Tensor classes = classes_of(matches, truths[n], config_.box.classes);
    const SampledIndices sampled = sampler(classes, {.count = config_.samples,
                                                     .positive_fraction = config_.positive_fraction,
                                                     .background = config_.box.classes,
                                                     .picture = static_cast<std::int64_t>(n),
                                                     .of_regions = true});
    const Tensor rows = concat({sampled.positive, sampled.negative}).to(boxes.device());
    Samples samples{index_select(boxes, rows), index_select(classes, rows), index_select(matches.truth, rows), {}};
    if (truths[n].boxes.size(0) > 0) samples.gt_boxes = index_select(truths[n].boxes, samples.truth);
    result.push_back(samples);
  }
  return result;
}

std::vector<Samples> RoiHeads::relabel(const std::vector<Tensor>& decoded, const std::vector<Size>& sizes,
                                       const std::vector<Truths>& truths, std::int64_t stage) const {
  const NoGrad no_grad;
  const double iou = kStages[static_cast<std::size_t>(stage)].iou;
  std::vector<Samples> result;
  for (std::size_t n = 0; n < decoded.size(); ++n) {
    Tensor boxes = clip(decoded[n], sizes[n]);
    boxes = index_select(boxes, nonzero(nonempty(boxes)));
    const Matches matches = match_boxes(truths[n].boxes, boxes, {.low = iou, .high = iou});
    // Without truths the matched boxes are zeros, not undefined: DropLoss's release preset tells them apart.
    const Tensor gt_boxes = truths[n].boxes.size(0) > 0 ? index_select(truths[n].boxes, matches.truth)
                                                        : Tensor::zeros(boxes.shape(), DType::kF32, boxes.device());
    result.push_back({boxes, classes_of(matches, truths[n], config_.box.classes), matches.truth, gt_boxes});
  }
  return result;
}

BoxPredictions RoiHeads::run_stage(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes,
                                   std::int64_t stage, const Context& context) const {
  Tensor pooled = pool(features, boxes, config_.box.pooled, config_.box.convolutions > 0 || config_.box.res5);
  if (context.training && config_.stages > 1)
    pooled = scale_gradient(pooled, 1.0 / static_cast<double>(config_.stages));
  return box_heads_[static_cast<std::size_t>(stage)](pooled, context);
}

std::vector<Tensor> RoiHeads::decode(const BoxPredictions& predictions, const std::vector<Tensor>& boxes,
                                     std::int64_t stage) const {
  const NoGrad no_grad;
  const BoxCoder& coder = box_heads_[static_cast<std::size_t>(stage)].coder();
  const Tensor from = concat(boxes);
  const std::int64_t regions = from.size(0), each = config_.box.boxes();
  if (each == 1) return split(coder.decode(predictions.deltas, from), counts_of(boxes));
  const Tensor repeated = from.unsqueeze(1).expand({regions, each, 4}).contiguous().reshape({regions * each, 4});
  const Tensor decoded = coder.decode(predictions.deltas.detach().reshape({regions * each, 4}), repeated);
  return split(decoded.reshape({regions, each * 4}), counts_of(boxes));
}

Losses RoiHeads::losses(const std::vector<Tensor>& features, const std::vector<Proposals>& proposals,
                        const std::vector<Size>& sizes, const std::vector<Truths>& truths, const Sampler& sampler,
                        const Context& context) const {
  Losses losses;
  const std::vector<Samples> first = sample(proposals, truths, sampler);
  std::vector<Samples> samples = first;
  for (std::int64_t k = 0; k < config_.stages; ++k) {
    const std::vector<Tensor> boxes = boxes_of(samples);
    const BoxPredictions predictions = run_stage(features, boxes, k, context);
    std::vector<Tensor> decoded;
    if (config_.droploss.preset || k + 1 < config_.stages) decoded = decode(predictions, boxes, k);
    const Tensor weights = stage_weights(config_.droploss, samples, decoded, truths, context.ranks);
    std::vector<Tensor> gt_boxes, classes;
    for (const Samples& s : samples) {
      gt_boxes.push_back(s.gt_boxes.defined() ? s.gt_boxes : s.boxes);  // all background: never read
      classes.push_back(s.classes);
    }
    const BoxLosses of_stage = box_heads_[static_cast<std::size_t>(k)].losses(
        predictions, concat(boxes), concat(gt_boxes), concat(classes), weights,
        config_.droploss.preset == Preset::kPaper, context.ranks);
    const std::string suffix = config_.stages == 1 ? "" : "_stage" + std::to_string(k);
    losses["loss_cls" + suffix] = of_stage.cls;
    losses["loss_box_reg" + suffix] = of_stage.reg;
    if (k + 1 < config_.stages) samples = relabel(decoded, sizes, truths, k + 1);
  }
  if (mask_head_) losses["loss_mask"] = mask_loss(features, first, truths, context);
  return losses;
}

Tensor RoiHeads::mask_loss(const std::vector<Tensor>& features, const std::vector<Samples>& samples,
                           const std::vector<Truths>& truths, const Context& context) const {
  std::vector<Tensor> boxes, classes, targets;
  for (std::size_t n = 0; n < samples.size(); ++n) {
    const Tensor rows = nonzero(less(samples[n].classes, static_cast<double>(config_.box.classes)));
    boxes.push_back(index_select(samples[n].boxes, rows));
    classes.push_back(index_select(samples[n].classes, rows));
    if (rows.numel() == 0) continue;
    check(truths[n].masks.defined() && truths[n].masks.size(0) == truths[n].boxes.size(0),
          "roi heads: the mask loss needs a mask for each of the {} truths of picture {} of the batch",
          truths[n].boxes.size(0), n);
    targets.push_back(
        crop_masks(truths[n].masks, index_select(samples[n].truth, rows), boxes.back(), 2 * config_.mask_pooled));
  }
  const Tensor logits = (*mask_head_)(pool(features, boxes, config_.mask_pooled, true), context);
  const Tensor chosen = MaskHead::of_class(logits, concat(classes));
  return MaskHead::loss(chosen,
                        targets.empty() ? Tensor::zeros(chosen.shape(), DType::kF32, chosen.device()) : concat(targets),
                        context.ranks);
}

std::vector<Detections> RoiHeads::detect_boxes(const std::vector<Tensor>& features,
                                               const std::vector<Proposals>& proposals, const std::vector<Size>& sizes,
                                               const DetectOptions& options) const {
  const NoGrad no_grad;
  std::vector<Tensor> boxes;
  for (const Proposals& p : proposals) boxes.push_back(p.boxes);
  Tensor scores;
  for (std::int64_t k = 0; k < config_.stages; ++k) {
    // All proposals stay, empty ones too: the stages' scores are added row by row.
    if (k > 0)
      for (std::size_t n = 0; n < boxes.size(); ++n) boxes[n] = clip(boxes[n], sizes[n]);
    const BoxPredictions predictions = run_stage(features, boxes, k, Context{});
    const Tensor of_stage = softmax(predictions.logits);
    scores = scores.defined() ? add(scores, of_stage) : of_stage;
    boxes = decode(predictions, boxes, k);
  }
  if (config_.stages > 1) scores = affine(scores, 1.0 / static_cast<double>(config_.stages));
  const std::vector<Tensor> of_image = split(scores, counts_of(boxes));
  std::vector<Detections> result;
  for (std::size_t n = 0; n < boxes.size(); ++n) result.push_back(choose(boxes[n], of_image[n], sizes[n], options));
  return result;
}

void RoiHeads::add_masks(const std::vector<Tensor>& features, std::vector<Detections>& detections) const {
  if (!mask_head_) return;
  const NoGrad no_grad;
  std::vector<Tensor> boxes, classes;
  for (const Detections& d : detections) {
    boxes.push_back(d.boxes);
    classes.push_back(d.classes);
  }
  const Tensor logits = (*mask_head_)(pool(features, boxes, config_.mask_pooled, true), Context{});
  const Tensor masks = sigmoid(MaskHead::of_class(logits, concat(classes)));
  const std::vector<Tensor> of_image = split(masks, counts_of(boxes));
  for (std::size_t n = 0; n < detections.size(); ++n) detections[n].masks = of_image[n];
}

}  // namespace usol::rcnn
