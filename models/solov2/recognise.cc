// What checkpoints of SOLOv2 tell by names and shapes, and the one line that makes the kind known.
#include <algorithm>
#include <cstdint>
#include <string>

#include "usol/models/solov2/settings.h"
#include "usol/models/solov2/solov2.h"
#include "usol/tensor/format.h"

namespace usol::solov2 {
namespace {

constexpr std::int64_t kPublishedGroups = 32;
// Sizes beyond this are no model's: tensors without elements may claim any, and products must not overflow.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24, kMaxDepth = 64;

// Size of a dimension; 0 if there is no such tensor.
std::int64_t size_of(const StateDict& state, const std::string& name, int dim) {
  const auto found = state.find(name);
  return found == state.end() || found->second.rank() <= dim ? 0 : found->second.size(dim);
}

bool any_begins_with(const StateDict& state, const std::string& prefix) {
  const auto first = state.lower_bound(prefix);
  return first != state.end() && first->first.starts_with(prefix);
}

// AdelaiDet's checkpoints say nothing of it, but are all trained from MSRA's backbones.
bool is_adelaidets(const StateDict& state) {
  return !state.contains("pixel_std") && !state.contains("ins_head.emb_pred.weight");
}

MakeBackbone backbone_of(const StateDict& state) {
  auto resnet = resnet_config(state, "backbone.bottom_up.");
  if (!is_adelaidets(state) || !resnet) return recognise_backbone(state, "backbone.");
  resnet->stride_in_1x1 = true;
  return resnet_fpn(*resnet, fpn_config(state, "backbone."));
}

MakeDetector recognise(const StateDict& state) {
  const auto config = config_of(state);
  return config ? maker(*config) : MakeDetector{};
}

// FreeSOLO's count of training steps.
bool leave_out(const std::string& name) { return name == "_iter"; }

std::optional<Description> describe(const StateDict& state) {
  if (!any_begins_with(state, "ins_head.cate_pred.") || !any_begins_with(state, "mask_head.")) return std::nullopt;
  Description out;
  const bool embeds = any_begins_with(state, "ins_head.emb_pred.");
  out.architecture = embeds ? "FreeSOLO (SOLOv2)" : "SOLOv2";
  std::string backbone = "unknown";
  for (const BackboneKind& kind : Registry<BackboneKind>::all()) {
    const auto described = kind.describe(state, "backbone.");
    if (!described) continue;
    backbone = described->architecture;
    out.facts.insert(out.facts.end(), described->facts.begin(), described->facts.end());
    break;
  }
  out.facts.emplace_back("backbone", backbone);
  if (const std::int64_t outputs = size_of(state, "ins_head.cate_pred.weight", 0); outputs > 0)
    out.facts.emplace_back("classes", embeds && outputs == 2 ? "1 (and a spare output)" : std::to_string(outputs));
  if (const std::int64_t kernel = size_of(state, "ins_head.kernel_pred.weight", 0); kernel > 0)
    out.facts.emplace_back("kernel", fmt::format("1 x 1, {} channels", kernel));
  if (embeds) out.facts.emplace_back("embedding", std::to_string(size_of(state, "ins_head.emb_pred.weight", 0)));
  out.facts.emplace_back("pictures",
                         is_adelaidets(state) ? "BGR, mean subtracted (AdelaiDet's)" : "RGB, ImageNet's scale");
  return out;
}

constexpr const char* kRecognised =
    "a SOLOv2 or FreeSOLO on a ResNet with a feature pyramid or on ViTDet (no backbone.bottom_up or backbone.net, "
    "ins_head "
    "and mask_head that fit together)";
std::unique_ptr<DetectorSettings> settings() { return std::make_unique<Solov2Settings>(); }

const Registry<DetectorKind>::Add kSolov2({"solov2", kRecognised, recognise, leave_out, describe, settings});

}  // namespace

std::optional<Config> config_of(const StateDict& state) {
  const auto size = [&](const std::string& name, int dim) { return size_of(state, "ins_head." + name, dim); };
  Config c;
  const std::int64_t outputs = size("cate_pred.weight", 0);
  c.channels = size("cate_tower.0.weight", 1);
  c.instance_channels = size("cate_tower.0.weight", 0);
  c.kernel_channels = size("kernel_pred.weight", 0);
  c.embedding = size("emb_pred.weight", 0);
  c.mask_channels = size_of(state, "mask_head.convs_all_levels.0.conv0.0.weight", 0);
  for (const std::int64_t width : {outputs, c.channels, c.instance_channels, c.kernel_channels, c.mask_channels})
    if (width <= 0 || width >= kMaxWidth) return std::nullopt;
  if (c.embedding >= kMaxWidth) return std::nullopt;
  c.instance_convolutions = 0;
  while (c.instance_convolutions < kMaxDepth &&
         state.contains("ins_head.cate_tower." + std::to_string(3 * c.instance_convolutions) + ".weight"))
    ++c.instance_convolutions;
  // What has embeddings learns one class; the release gives it two outputs.
  c.classes = c.embedding > 0 ? 1 : outputs;
  c.spare_outputs = outputs - c.classes;
  if (c.embedding > 0) c.losses.kind = LossKind::kFreeSolo;
  for (const std::int64_t width : {c.instance_channels, c.kernel_channels, c.mask_channels})
    if (width % kPublishedGroups != 0) return std::nullopt;
  c.stores_pixels = state.contains("pixel_std");
  if (is_adelaidets(state)) c.pixels = {.deviation = {1, 1, 1}, .blue_first = true};
  c.backbone = backbone_of(state);
  if (!c.backbone) return std::nullopt;
  return c;
}

}  // namespace usol::solov2
