#include "usol/models/resnet_patches.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "usol/nn/context.h"
#include "usol/ops/cast.h"
#include "usol/ops/view.h"

namespace usol {
namespace {

ResNetConfig with_fixed_norms(ResNetConfig config) {
  config.norm = nn::NormKind::kFrozenBn;
  return config;
}

MakePatchBackbone recognise(const StateDict& state) {
  const auto config = resnet_config(state);
  if (!config) return {};
  return [config](const Scope& scope) { return std::make_unique<ResNetPatches>(scope, *config); };
}

// What batch norms count.
bool is_left_out(const std::string& name) { return name.ends_with(".num_batches_tracked"); }

// models/describe.cc says what a ResNet is, in torchvision's names, too.
std::optional<Description> described_elsewhere(const StateDict&) { return std::nullopt; }

const Registry<PatchBackboneKind>::Add kResNet(
    {"resnet", "a residual network of bottlenecks (torchvision's or Detectron2's names)", recognise, is_left_out,
     described_elsewhere});

}  // namespace

ResNetPatches::ResNetPatches(const Scope& scope, const ResNetConfig& config)
    : config_(with_fixed_norms(config)), net_(scope, config_) {}

PatchBackbone::PartMaps ResNetPatches::part_maps(const Tensor& images, const FeatureParts& parts, bool,
                                                 const Tensor&) const {
  std::int64_t last = 0;
  for (const FeaturePart& part : parts) last = std::max(last, part.layer);
  const std::vector<Tensor> stages =
      net_.first_maps(cast(images, net_.dtype()), {}, static_cast<std::size_t>(last) + 1);
  PartMaps maps;
  for (const FeaturePart& part : parts)
    maps.parts.push_back(contiguous(cast(stages[static_cast<std::size_t>(part.layer)], DType::kF32)));
  return maps;
}

}  // namespace usol
