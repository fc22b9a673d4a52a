#include "usol/models/fpn.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "usol/ops/interpolate.h"
#include "usol/ops/pool2d.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

bool any_begins_with(const StateDict& state, const std::string& prefix) {
  const auto first = state.lower_bound(prefix);
  return first != state.end() && first->first.starts_with(prefix);
}

// In the order of ResNetConfig::freeze_at.
const std::vector<std::string> kFreezable{"none", "stem", "res2", "res3", "res4", "res5"};

MakeBackbone recognise(const StateDict& state, const std::string& prefix) {
  constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
  const auto resnet = resnet_config(state, prefix + "bottom_up.");
  const FpnConfig fpn = fpn_config(state, prefix);
  if (!resnet || fpn.channels <= 0 || fpn.channels >= kMaxWidth) return {};
  return resnet_fpn(*resnet, fpn);
}

std::optional<Description> describe(const StateDict& state, const std::string& prefix) {
  const auto resnet = resnet_config(state, prefix + "bottom_up.");
  const bool pyramid = any_begins_with(state, prefix + "fpn_lateral2.");
  if (!resnet && !pyramid) return std::nullopt;
  Description out;
  out.architecture = resnet ? resnet_name(resnet->blocks) : "unknown";
  if (pyramid) out.architecture += any_begins_with(state, prefix + "fpn_lateral2.norm.") ? ", FPN with norm" : ", FPN";
  return out;
}

std::unique_ptr<BackboneSettings> settings() { return std::make_unique<ResNetFpnSettings>(); }

const Registry<BackboneKind>::Add kResNetFpn({"resnet", recognise, describe, "bottom_up.", settings});

}  // namespace

void ResNetFpnSettings::declare(Settings& settings) {
  settings.add("blocks N", blocks, "Blocks of res2 ... res5").at_least(1);
  settings.add("resnet-channels N", resnet_channels, "Width of res2's result").at_least(4);
  // What is there when a setting is declared counts as its default, and a program may have chosen already. kLater:
  // trainings from before there was a choice go on.
  const auto choose = [&](const char* name, std::string& value, const std::string& usual,
                          const std::vector<std::string>& allowed, const char* help) {
    std::string chosen = std::exchange(value, usual);
    settings.choice(name, value, allowed, help, OptionKind::kLater);
    value = std::move(chosen);
  };
  choose(
      "norm", norm, usual_norm, {"SyncBN", "FrozenBN"},
      "SyncBN: norms of each batch, in the pyramid too. FrozenBN: norms as the weights have them, none in the pyramid");
  choose("freeze", freeze, kFreezable[0], kFreezable, "The ResNet learns nothing up to this part");
}

MakeBackbone ResNetFpnSettings::make(std::int64_t channels) const {
  check(blocks.size() == 4, ErrorKind::kUsage, "blocks: expected four numbers, got {}", blocks.size());
  check(resnet_channels % 4 == 0, ErrorKind::kUsage, "resnet-channels {}: expected a multiple of 4", resnet_channels);
  const auto frozen = std::find(kFreezable.begin(), kFreezable.end(), freeze);
  check(frozen != kFreezable.end(), ErrorKind::kUsage, "freeze {}: expected one of {}", freeze,
        fmt::join(kFreezable, ", "));
  ResNetConfig resnet;
  resnet.norm = nn::parse_norm_kind(norm);
  resnet.freeze_at = static_cast<int>(frozen - kFreezable.begin());
  std::copy(blocks.begin(), blocks.end(), resnet.blocks.begin());
  resnet.res2_channels = resnet_channels;
  resnet.stem_channels = resnet.width_per_group = resnet_channels / 4;
  return resnet_fpn(resnet, {.channels = channels,
                             .norm = resnet.norm == nn::NormKind::kFrozenBn ? nn::NormKind::kNone : resnet.norm});
}

MakeBackbone resnet_fpn(const ResNetConfig& resnet, const FpnConfig& config) {
  return [resnet, config](const Scope& scope) { return std::make_unique<Fpn>(scope, resnet, config); };
}

FpnConfig fpn_config(const StateDict& state, const std::string& prefix) {
  FpnConfig config;
  const auto output = state.find(prefix + "fpn_output2.weight");
  config.channels = output == state.end() || output->second.rank() != 4 ? 0 : output->second.size(0);
  config.norm = state.contains(prefix + "fpn_output2.norm.weight") ? nn::NormKind::kSyncBn : nn::NormKind::kNone;
  return config;
}

Fpn::Fpn(const Scope& scope, const std::function<std::unique_ptr<Backbone>(const Scope&)>& make_bottom_up,
         const FpnConfig& config)
    : bottom_up_(make_bottom_up(scope / "bottom_up")) {
  const std::vector<FeatureSpec>& below = bottom_up_->outputs();
  nn::ConvConfig conv;
  conv.norm = config.norm;
  conv.init = init::kaiming_uniform(1);
  for (std::size_t i = 0; i < below.size(); ++i) {
    const std::int64_t stride = below[i].stride_px;
    check(std::has_single_bit(static_cast<std::uint64_t>(stride)) && (i == 0 || stride == 2 * below[i - 1].stride_px),
          "fpn: expected strides that double from map to map, got {} for {}", stride, below[i].name);
    const int level = std::countr_zero(static_cast<std::uint64_t>(stride));
    conv.padding = 0;
    laterals_.emplace_back(scope / fmt::format("fpn_lateral{}", level), below[i].channels, config.channels, 1, conv);
    conv.padding = 1;
    output_convs_.emplace_back(scope / fmt::format("fpn_output{}", level), config.channels, config.channels, 3, conv);
    outputs_.push_back({fmt::format("p{}", level), config.channels, stride});
  }
  check(!outputs_.empty(), "fpn: the bottom-up backbone has no maps");
  const std::int64_t last = 2 * outputs_.back().stride_px;
  outputs_.push_back({fmt::format("p{}", std::countr_zero(static_cast<std::uint64_t>(last))), config.channels, last});
}

Fpn::Fpn(const Scope& scope, const ResNetConfig& resnet, const FpnConfig& config)
    : Fpn(
          scope, [&](const Scope& below) { return std::make_unique<ResNet>(below, resnet); }, config) {}

std::vector<Tensor> Fpn::forward(const Tensor& images, const Context& context) const {
  check(images.rank() == 4 && images.size(2) % size_divisibility_px() == 0 &&
            images.size(3) % size_divisibility_px() == 0 && images.size(2) > 0 && images.size(3) > 0,
        "fpn: expected images [N, 3, H, W] with H and W multiples of {}, got {}", size_divisibility_px(),
        images.shape());
  const std::vector<Tensor> below = bottom_up_->forward(images, context);
  std::vector<Tensor> features;  // low resolution first
  Tensor top_down;
  for (std::size_t i = below.size(); i-- > 0;) {
    if (!top_down.defined()) {
      top_down = laterals_[i](below[i], context);
    } else {
      const Tensor enlarged =
          interpolate(top_down, below[i].size(2), below[i].size(3), {.mode = InterpolateMode::kNearest});
      top_down = laterals_[i].add_to(enlarged, below[i], context);
    }
    features.push_back(output_convs_[i](top_down, context));
  }
  std::reverse(features.begin(), features.end());
  features.push_back(max_pool2d(features.back(), {.kernel = {1, 1}, .stride = {2, 2}}));
  return features;
}

}  // namespace usol
