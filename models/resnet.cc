#include "usol/models/resnet.h"

#include "usol/ops/elementwise.h"
#include "usol/ops/pool2d.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr int kFirstStage = 2;  // stages are named res2..res5

std::int64_t out_channels(const ResNetConfig& c, int stage) { return c.res2_channels << (stage - kFirstStage); }
std::int64_t in_channels(const ResNetConfig& c, int stage, std::int64_t index) {
  if (index > 0) return out_channels(c, stage);
  return stage == kFirstStage ? c.stem_channels : out_channels(c, stage - 1);
}
std::int64_t width(const ResNetConfig& c, int stage) { return (c.groups * c.width_per_group) << (stage - kFirstStage); }
std::int64_t dilation(const ResNetConfig& c, int stage) { return stage == 5 ? c.res5_dilation : 1; }
std::int64_t stage_stride(const ResNetConfig& c, int stage, std::int64_t index) {
  return index > 0 || stage == kFirstStage || dilation(c, stage) > 1 ? 1 : 2;
}

nn::ConvConfig conv_config(const ResNetConfig& c, bool relu, std::int64_t stride = 1) {
  nn::ConvConfig config;
  config.stride = stride;
  config.norm = c.norm;
  config.bias = false;
  config.relu = relu;
  return config;
}

nn::ConvConfig spatial_config(const ResNetConfig& c, int stage, std::int64_t stride) {
  nn::ConvConfig config = conv_config(c, true, stride);
  config.padding = config.dilation = dilation(c, stage);
  config.groups = c.groups;
  return config;
}

nn::ConvConfig stem_config(const ResNetConfig& c) {
  nn::ConvConfig config = conv_config(c, true, 2);
  config.padding = 3;
  return config;
}

// For what does not learn: batch norms are frozen ones, whose numbers are no parameters.
ResNetConfig frozen_if(bool frozen, ResNetConfig config) {
  if (frozen && (config.norm == nn::NormKind::kSyncBn || config.norm == nn::NormKind::kBn))
    config.norm = nn::NormKind::kFrozenBn;
  return config;
}

bool any_begins_with(const StateDict& state, const std::string& prefix) {
  const auto first = state.lower_bound(prefix);
  return first != state.end() && first->first.starts_with(prefix);
}

// How many of prefix + "0.", prefix + "1." ... there are, without gaps.
std::int64_t count_numbered(const StateDict& state, const std::string& prefix) {
  std::int64_t count = 0;
  while (any_begins_with(state, fmt::format("{}{}.", prefix, count))) ++count;
  return count;
}

}  // namespace

std::optional<ResNetConfig> resnet_config(const StateDict& state, const std::string& prefix, int last_stage) {
  // Sizes beyond this are no model's: tensors without elements may claim any, and products must not overflow.
  constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
  const auto size = [&](const std::string& name, int dim, std::int64_t otherwise) {
    const auto found = state.find(prefix + name);
    return found == state.end() || found->second.rank() != 4 ? otherwise : found->second.size(dim);
  };
  if (!any_begins_with(state, prefix + "res2.0.conv3.")) return std::nullopt;  // no bottlenecks
  ResNetConfig c;
  c.last_stage = last_stage;
  for (int stage = kFirstStage; stage <= last_stage; ++stage) {
    const std::int64_t blocks = count_numbered(state, fmt::format("{}res{}.", prefix, stage));
    if (blocks == 0) return std::nullopt;
    c.blocks[static_cast<std::size_t>(stage - kFirstStage)] = blocks;
  }
  c.stem_channels = size("stem.conv1.weight", 0, 0);
  c.res2_channels = size("res2.0.conv3.weight", 0, 4 * c.stem_channels);
  const std::int64_t middle = size("res2.0.conv2.weight", 0, c.stem_channels);
  c.width_per_group = size("res2.0.conv2.weight", 1, middle);
  for (const std::int64_t width : {c.stem_channels, c.res2_channels, middle, c.width_per_group})
    if (width <= 0 || width >= kMaxWidth) return std::nullopt;
  c.groups = middle / c.width_per_group;
  return c;
}

std::string resnet_name(const std::array<std::int64_t, 4>& blocks) {
  if (blocks == std::array<std::int64_t, 4>{3, 4, 6, 3}) return "ResNet-50";
  if (blocks == std::array<std::int64_t, 4>{3, 4, 23, 3}) return "ResNet-101";
  return fmt::format("ResNet with {} bottlenecks", fmt::join(blocks, "-"));
}

ResNetStage::Block::Block(const Scope& scope, const ResNetConfig& c, int stage, std::int64_t index)
    : conv1(scope / "conv1", in_channels(c, stage, index), width(c, stage), 1,
            conv_config(c, true, c.stride_in_1x1 ? stage_stride(c, stage, index) : 1)),
      conv2(scope / "conv2", width(c, stage), width(c, stage), 3,
            spatial_config(c, stage, c.stride_in_1x1 ? 1 : stage_stride(c, stage, index))),
      conv3(scope / "conv3", width(c, stage), out_channels(c, stage), 1, conv_config(c, true)),
      first(index == 0) {
  if (in_channels(c, stage, index) != out_channels(c, stage))
    shortcut.emplace(scope / "shortcut", in_channels(c, stage, index), out_channels(c, stage), 1,
                     conv_config(c, false, stage_stride(c, stage, index)));
}

Tensor ResNetStage::Block::operator()(const Tensor& x, const Context& context) const {
  const Tensor branch = conv2(conv1(x, context), context);
  // conv3 may write over what it is added to.
  const Tensor straight = shortcut ? (*shortcut)(x, context) : first ? affine(x, 1) : x;
  return conv3.add_to(straight, branch, context);
}

void ResNetStage::Block::freeze() {
  for (nn::Conv2d* conv : {&conv1, &conv2, &conv3}) conv->freeze();
  if (shortcut) shortcut->freeze();
}

ResNetStage::ResNetStage(const Scope& scope, const ResNetConfig& config, int stage)
    : channels_(out_channels(config, stage)), stride_(stage_stride(config, stage, 0)) {
  for (std::int64_t b = 0; b < config.blocks[static_cast<std::size_t>(stage - kFirstStage)]; ++b)
    blocks_.emplace_back(scope / b, config, stage, b);
}

Tensor ResNetStage::operator()(Tensor x, const Context& context) const {
  for (const Block& block : blocks_) x = block(x, context);
  return x;
}

void ResNetStage::freeze() {
  for (Block& block : blocks_) block.freeze();
}

ResNet::ResNet(const Scope& scope, const ResNetConfig& config)
    : stem_(scope / "stem" / "conv1", 3, config.stem_channels, 7,
            stem_config(frozen_if(config.freeze_at >= 1, config))) {
  check(config.freeze_at >= 0 && config.freeze_at <= 5, "resnet: expected freeze_at in 0..5, got {}", config.freeze_at);
  check(config.res5_dilation == 1 || config.res5_dilation == 2, "resnet: expected a res5_dilation of 1 or 2, got {}",
        config.res5_dilation);
  check(config.last_stage == 4 || config.last_stage == 5, "resnet: expected a last stage of 4 or 5, got {}",
        config.last_stage);
  if (config.freeze_at >= 1) stem_.freeze();
  std::int64_t stride_px = 4;
  for (int stage = kFirstStage; stage <= config.last_stage; ++stage) {
    const std::string name = fmt::format("res{}", stage);
    stages_.emplace_back(scope / name, frozen_if(config.freeze_at >= stage, config), stage);
    if (config.freeze_at >= stage) stages_.back().freeze();
    stride_px *= stages_.back().stride();
    outputs_.push_back({name, stages_.back().channels(), stride_px});
  }
}

std::vector<Tensor> ResNet::forward(const Tensor& images, const Context& context) const {
  return first_maps(images, context, stages_.size());
}

std::vector<Tensor> ResNet::first_maps(const Tensor& images, const Context& context, std::size_t stages) const {
  check(images.rank() == 4 && images.size(1) == 3, "resnet: expected images [N, 3, H, W], got {}", images.shape());
  Tensor x = max_pool2d(stem_(images, context), {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  std::vector<Tensor> features;
  for (std::size_t i = 0; i < stages; ++i) {
    x = stages_[i](x, context);
    features.push_back(x);
  }
  return features;
}

}  // namespace usol
