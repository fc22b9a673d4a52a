#include "usol/models/convnext.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr std::int64_t kKernel = 7;  // of the depthwise convolutions
constexpr std::int64_t kExpansion = 4;
constexpr std::int64_t kStemPx = 4, kDownsample = 2;  // kernels and strides
// Sizes that no model reaches: tensors without elements may claim any, and products must stay far from overflow.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;

nn::ConvConfig depthwise(std::int64_t width) {
  nn::ConvConfig config;
  config.padding = kKernel / 2;
  config.groups = width;
  config.init = init::trunc_normal(0.02f);
  return config;
}

nn::ConvConfig strided(std::int64_t stride) {
  nn::ConvConfig config;
  config.stride = stride;
  config.init = init::trunc_normal(0.02f);
  return config;
}

MakePatchBackbone recognise(const StateDict& state) {
  const auto config = convnext_config(state);
  if (!config) return {};
  return [config](const Scope& scope) { return std::make_unique<ConvNext>(scope, *config); };
}

// A classifier, and DINOv3's list of norms, whose only one with parameters is "norm" once more.
bool is_left_out(const std::string& name) { return name.starts_with("head.") || name.starts_with("norms."); }

std::optional<Description> describe(const StateDict& state) {
  const auto config = convnext_config(state);
  if (!config) return std::nullopt;
  Description out;
  out.architecture = config->name();
  out.facts = {{"widths", fmt::format("{}", fmt::join(config->widths, "-"))},
               {"depths", fmt::format("{}", fmt::join(config->depths, "-"))},
               {"patches", "4, 8, 16, 32 px by stage"}};
  return out;
}

const Registry<PatchBackboneKind>::Add kConvNext({"convnext",
                                                  "a ConvNeXt (no downsample_layers and stages that fit together)",
                                                  recognise, is_left_out, describe});

}  // namespace

std::string ConvNextConfig::name() const {
  using Sizes = std::array<std::int64_t, 4>;
  static const std::map<std::pair<std::int64_t, std::int64_t>, const char*> letters{
      {{96, 9}, "T"}, {{96, 27}, "S"}, {{128, 27}, "B"}, {{192, 27}, "L"}};
  const auto letter = letters.find({widths[0], depths[2]});
  const bool usual =
      widths == Sizes{widths[0], 2 * widths[0], 4 * widths[0], 8 * widths[0]} && depths == Sizes{3, 3, depths[2], 3};
  if (usual && letter != letters.end()) return fmt::format("ConvNeXt-{}", letter->second);
  return fmt::format("ConvNeXt widths {} depths {}", fmt::join(widths, "-"), fmt::join(depths, "-"));
}

std::optional<ConvNextConfig> convnext_config(const StateDict& state) {
  const auto find = [&](const std::string& name) -> const Tensor* {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
  };
  ConvNextConfig config;
  for (std::size_t s = 0; s < config.widths.size(); ++s) {
    const Tensor* down = find(fmt::format("downsample_layers.{}.{}.weight", s, s == 0 ? 0 : 1));
    if (!down || down->rank() != 4 || down->size(0) <= 0 || down->size(0) >= kMaxWidth) return std::nullopt;
    config.widths[s] = down->size(0);
    config.depths[s] = 0;
    while (find(fmt::format("stages.{}.{}.dwconv.weight", s, config.depths[s]))) ++config.depths[s];
    if (config.depths[s] == 0) return std::nullopt;
  }
  config.layer_scale = find("stages.0.0.gamma") != nullptr;
  return config;
}

ConvNext::Block::Block(const Scope& scope, std::int64_t width, bool layer_scale)
    : dwconv(scope / "dwconv", width, width, kKernel, depthwise(width)),
      norm(scope / "norm", width),
      pwconv1(scope / "pwconv1", width, kExpansion * width),
      pwconv2(scope / "pwconv2", kExpansion * width, width) {
  if (layer_scale) gamma = scope.parameter("gamma", {width}, init::constant(1e-6f));
}

Tensor ConvNext::Block::operator()(const Tensor& x) const {
  Tensor pixels = nn::normed(norm, permute(dwconv(x, {}), {0, 2, 3, 1}));  // [N, H, W, C]
  pixels = pwconv2(pwconv1(pixels, Activation::kGelu));
  if (gamma.defined()) pixels = mul(pixels, cast(gamma, pixels.dtype()));
  return add(x, permute(pixels, {0, 3, 1, 2}));
}

ConvNext::ConvNext(const Scope& scope, const ConvNextConfig& config)
    : config_(config), norm_(scope / "norm", config.widths.back()) {
  for (std::size_t s = 0; s < config.widths.size(); ++s) {
    const bool stem = s == 0;
    const std::int64_t in = stem ? 3 : config.widths[s - 1], out = config.widths[s];
    const Scope down = scope / "downsample_layers" / static_cast<std::int64_t>(s);
    Stage stage{nn::LayerNorm(down / (stem ? "1" : "0"), stem ? out : in),
                nn::Conv2d(down / (stem ? "0" : "1"), in, out, stem ? kStemPx : kDownsample,
                           strided(stem ? kStemPx : kDownsample)),
                {}};
    for (std::int64_t b = 0; b < config.depths[s]; ++b)
      stage.blocks.emplace_back(scope / "stages" / static_cast<std::int64_t>(s) / b, out, config.layer_scale);
    stages_.push_back(std::move(stage));
  }
}

PatchBackbone::PartMaps ConvNext::part_maps(const Tensor& images, const FeatureParts& parts, bool,
                                            const Tensor&) const {
  std::int64_t last = 0;
  for (const FeaturePart& part : parts) last = std::max(last, part.layer);
  PartMaps maps{std::vector<Tensor>(parts.size()), {}};
  Tensor x = cast(images, stages_[0].downsample.weight.dtype());
  for (std::int64_t layer = 0; layer <= last; ++layer) {
    const Stage& stage = stages_[static_cast<std::size_t>(layer)];
    x = layer == 0 ? nn::norm_channels(stage.norm, stage.downsample(x, {}))
                   : stage.downsample(nn::norm_channels(stage.norm, x), {});
    for (const Block& block : stage.blocks) x = block(x);
    const Tensor map = layer + 1 == layers() ? nn::norm_channels(norm_, x) : x;
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (parts[i].layer == layer) maps.parts[i] = contiguous(cast(map, DType::kF32));
  }
  return maps;
}

}  // namespace usol
