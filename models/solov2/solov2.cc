#include "usol/models/solov2/solov2.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "usol/autograd/grad_mode.h"
#include "usol/models/solov2/boxinst_losses.h"
#include "usol/models/solov2/finding.h"
#include "usol/models/solov2/freesolo_losses.h"
#include "usol/models/solov2/levels.h"
#include "usol/models/solov2/losses.h"
#include "usol/models/solov2/targets.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"

namespace usol::solov2 {
namespace {

// All ranks throw at once, so that none waits for another.
void require_finite(const std::vector<Cells>& cells, const Tensor& features, Communicator* ranks) {
  const NoGrad no_grad;
  double total = sum(features.detach().to(DType::kF32)).item();
  for (const Cells& level : cells)
    total += sum(level.categories.detach().to(DType::kF32)).item() + sum(level.kernels.detach().to(DType::kF32)).item();
  if (max_over_ranks(std::isfinite(total) ? 0 : 1, ranks) > 0)
    throw detection::Diverged(ErrorKind::kInvalidArgument, "solov2: a prediction is not finite: training has diverged");
}

Tensor stored(const std::array<float, 3>& values, bool blue_first) {
  std::vector<float> numbers(values.begin(), values.end());
  if (blue_first) std::reverse(numbers.begin(), numbers.end());
  return Tensor::from(numbers, {3, 1, 1});
}

}  // namespace

Solov2::Solov2(const Scope& scope, const Config& config, Device device, DType dtype)
    : config_(config),
      device_(device),
      dtype_(dtype),
      backbone_(config.backbone(scope / "backbone")),
      ins_head_(scope / "ins_head", config),
      mask_head_(scope / "mask_head", config) {
  const std::vector<FeatureSpec>& maps = backbone_->outputs();
  check(maps.size() == kLevels && maps[0].stride_px == 4 && maps[0].channels == config.channels,
        "solov2: expected maps p2 ... p6 with {} channels, got {} maps of {} channels, stride {}", config.channels,
        maps.size(), maps[0].channels, maps[0].stride_px);
  if (!config.stores_pixels) return;
  const PixelScale& pixels = config.pixels;
  for (const auto& [name, values] : {std::pair{"pixel_mean", &pixels.mean}, {"pixel_std", &pixels.deviation}})
    scope.buffer(name, {3, 1, 1},
                 [numbers = stored(*values, pixels.blue_first)](Tensor& to, Generator&) { to.copy_from(numbers); });
}

detection::Info Solov2::info() const {
  detection::Info info;
  info.name = config_.embedding > 0 ? "FreeSOLO" : "SOLOv2";
  info.classes = config_.classes;
  info.whole_masks = true;
  info.step_px = backbone_->size_divisibility_px();
  if (!backbone_->name().empty()) info.name += " on " + backbone_->name();
  if (const std::int64_t square = backbone_->square_px(); square > 0) info.short_px = info.long_px = square;
  return info;
}

std::vector<Tensor> Solov2::maps(const std::vector<Tensor>& pictures, const Context& context) const {
  const Tensor images = image_batch("solov2", pictures, backbone_->size_divisibility_px(), backbone_->square_px(),
                                    context.ranks, config_.pixels)
                            .to(context.dtype.value_or(dtype_))
                            .to(device_);
  return backbone_->forward(images, context);
}

Solov2::Output Solov2::forward(const std::vector<Tensor>& pictures, const Context& context) const {
  const std::vector<Tensor> of_pyramid = maps(pictures, context);
  return {ins_head_(instance_levels(of_pyramid), context), mask_head_(of_pyramid, context)};
}

detection::Losses Solov2::losses(const std::vector<Tensor>& pictures, const std::vector<detection::Truths>& truths,
                                 const detection::Draws& draws, const Context& context) const {
  check(pictures.size() == truths.size(), "solov2: {} pictures, truths of {}", pictures.size(), truths.size());
  const Output output = forward(pictures, context);
  require_finite(output.cells, output.features, context.ranks);
  const std::vector<LevelTargets> targets =
      make_targets(truths, sizes_of(pictures), {output.features.size(2), output.features.size(3)}, config_, device_);
  const LossInputs inputs{output.cells, output.features, targets, pictures, truths, draws.step};
  switch (config_.losses.kind) {
    case LossKind::kFreeSolo:
      return freesolo_losses(inputs, config_, context.ranks);
    case LossKind::kBoxInst:
      return boxinst_losses(inputs, config_, context.ranks);
    case LossKind::kSupervised:
      break;
  }
  return supervised_losses(output.cells, output.features, targets, config_, context.ranks);
}

void Solov2::run_norms(const std::vector<Tensor>& pictures, const Context& context) const {
  const NoGrad no_grad;
  maps(pictures, context);
}

detection::Seen Solov2::see(const std::vector<Tensor>& pictures, const detection::DetectOptions& options) const {
  const NoGrad no_grad;
  const Output output = forward(pictures, Context{});
  detection::Seen seen;
  const std::vector<Size> sizes = sizes_of(pictures);
  for (std::size_t i = 0; i < pictures.size(); ++i)
    seen.found.push_back(
        find_objects(output.cells, output.features, static_cast<std::int64_t>(i), sizes[i], config_, options));
  return seen;
}

void Solov2::add_masks(detection::Seen& seen) const {
  for (const detection::Detections& found : seen.found)
    check(found.masks.defined(),
          "solov2: masks come with the objects that see() finds; for other boxes there are none");
}

MakeDetector maker(const Config& config) {
  return [config](const Scope& scope, Device device, DType dtype) {
    return std::make_unique<Solov2>(scope, config, device, dtype);
  };
}

}  // namespace usol::solov2
