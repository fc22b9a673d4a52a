#include "usol/models/resnet_c4.h"

#include <algorithm>
#include <utility>

#include "usol/tensor/check.h"

namespace usol {
namespace {

ResNetConfig up_to_res4(ResNetConfig config) {
  config.last_stage = 4;
  return config;
}

bool any_begins_with(const StateDict& state, const std::string& prefix) {
  const auto first = state.lower_bound(prefix);
  return first != state.end() && first->first.starts_with(prefix);
}

MakeBackbone recognise(const StateDict& state, const std::string& prefix) {
  if (any_begins_with(state, prefix + "res5.")) return {};
  const auto resnet = resnet_config(state, prefix, 4);
  if (!resnet) return {};
  return resnet_c4(*resnet);
}

std::optional<Description> describe(const StateDict& state, const std::string& prefix) {
  const auto resnet = resnet_config(state, prefix, 4);
  if (!resnet) return std::nullopt;
  ResNetConfig whole = *resnet;
  whole.blocks[3] = 0;
  while (any_begins_with(state, fmt::format("roi_heads.res5.{}.", whole.blocks[3]))) ++whole.blocks[3];
  Description out;
  out.architecture = resnet_name(whole.blocks) + ", C4 (res5 in the heads)";
  return out;
}

std::unique_ptr<BackboneSettings> settings() { return std::make_unique<ResNetC4Settings>(); }

const Registry<BackboneKind>::Add kResNetC4({"resnet-c4", recognise, describe, "", settings, "roi_heads."});

}  // namespace

void ResNetC4Settings::declare(Settings& settings) {
  settings.add("blocks N", blocks, "Blocks of res2 ... res5").at_least(1);
  settings.add("resnet-channels N", resnet_channels, "Width of res2's result").at_least(4);
  settings
      .add("freeze-at N", freeze_at,
           "What does not learn: 1 the stem, 2 also res2, 3 also res3, 4 also res4; their norms are frozen. 0: nothing")
      .between(0, 4);
  settings.flag("norm-after-res5", norm_after_res5, "A norm more, behind res5 (MoCo's and LOST's detectors have it)");
}

ResNetConfig ResNetC4Settings::resnet() const {
  check(blocks.size() == 4, ErrorKind::kUsage, "blocks: expected four numbers, got {}", blocks.size());
  check(resnet_channels % 4 == 0, ErrorKind::kUsage, "resnet-channels {}: expected a multiple of 4", resnet_channels);
  ResNetConfig resnet;
  std::copy(blocks.begin(), blocks.end(), resnet.blocks.begin());
  resnet.res2_channels = resnet_channels;
  resnet.stem_channels = resnet.width_per_group = resnet_channels / 4;
  resnet.freeze_at = static_cast<int>(freeze_at);
  return resnet;
}

MakeBackbone ResNetC4Settings::make(std::int64_t) const { return resnet_c4(resnet()); }

MakeBackbone resnet_c4(const ResNetConfig& resnet) {
  return [resnet](const Scope& scope) { return std::make_unique<ResNetC4>(scope, resnet); };
}

ResNetC4::ResNetC4(const Scope& scope, const ResNetConfig& config)
    : resnet_(scope, up_to_res4(config)), outputs_{resnet_.outputs().back()} {}

std::vector<Tensor> ResNetC4::forward(const Tensor& images, const Context& context) const {
  return {resnet_.forward(images, context).back()};
}

}  // namespace usol
