#include "usol/models/vit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/linear.h"
#include "usol/ops/matmul.h"
#include "usol/ops/rope.h"
#include "usol/ops/softmax.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// Sizes that no model reaches: tensors without elements may claim any, and products must stay far from overflow.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
constexpr std::int64_t kWidth7B = 4096;

bool is_projection_head(const std::string& name) { return name.starts_with("head."); }

nn::TransformerBlockConfig block_config(const VitConfig& c, std::int64_t index) {
  const double place = c.depth > 1 ? static_cast<double>(index) / static_cast<double>(c.depth - 1) : 0;
  return {.width = c.width,
          .heads = c.heads(),
          .mlp_hidden = c.mlp_hidden,
          .mlp = c.mlp,
          .qkv_bias = c.qkv_bias,
          .layer_scale = c.layer_scale,
          .epsilon = c.epsilon,
          .drop_path = c.drop_path * place,
          .add_in_place = true};
}

// Queries, keys and values of the tokens that enter a block.
class Projections {
 public:
  // `whole`: all of them as one product, for an attention needs two of them for all tokens.
  Projections(const nn::TransformerBlock& block, const Tensor& x, bool whole)
      : attention_(block.attn), width_(x.size(2)), x_(block.norm1(x)) {
    if (whole) whole_ = cast(attention_.projected(x_), DType::kF32);
  }
  /// [N, L, 3 D] f32.
  const Tensor& whole() const { return whole_; }
  /// What `as_map` makes of the tokens [N, L, D]; of all three it is k, q, v.
  template <class AsMap>
  Tensor map(FeatureKind kind, const AsMap& as_map) const {
    switch (kind) {
      case FeatureKind::kQ:
        return as_map(tokens(0));
      case FeatureKind::kK:
        return as_map(tokens(1));
      case FeatureKind::kV:
        return as_map(tokens(2));
      case FeatureKind::kKqv:
        return concat({as_map(tokens(1)), as_map(tokens(0)), as_map(tokens(2))}, 1);
      case FeatureKind::kOut:
        break;
    }
    fail(ErrorKind::kInvalidArgument, "vit: no projection of that kind");
  }

 private:
  // 0 q, 1 k, 2 v. Without the whole, only the rows of the weight that are asked for.
  Tensor tokens(std::int64_t which) const {
    const std::int64_t first = which * width_, end = first + width_;
    if (whole_.defined()) return slice(whole_, 2, first, end);
    const Tensor bias = attention_.qkv_bias();
    return linear(x_, slice(attention_.qkv.weight, 0, first, end), bias.defined() ? slice(bias, 0, first, end) : bias);
  }

  const nn::Attention& attention_;
  std::int64_t width_;
  Tensor x_, whole_;
};

// Starts as PyTorch's convolutions do: U(-b, b), b = 1 / sqrt(fan in), for weight and bias.
nn::PatchEmbed make_patch_embed(const Scope& scope, const VitConfig& c) {
  const double fan_in = 3 * static_cast<double>(c.patch * c.patch);
  const Initializer start = init::uniform(1 / std::sqrt(fan_in));
  return {scope, c.width, c.patch, start, start};
}

MakePatchBackbone recognise(const StateDict& state) {
  const auto config = vit_config(state);
  if (!config) return {};
  return [config](const Scope& scope) { return std::make_unique<Vit>(scope, *config); };
}

std::optional<Description> describe(const StateDict& state) {
  const auto config = vit_config(state);
  if (!config) return std::nullopt;
  const VitConfig& c = *config;
  Description out;
  out.architecture = c.name();
  out.facts = {
      {"width", std::to_string(c.width)},
      {"depth", std::to_string(c.depth)},
      {"heads", std::to_string(c.heads())},
      {"patch", std::to_string(c.patch)},
      {"grid", c.rotary ? "any (rotary positions)" : fmt::format("{0} x {0} ({1} px)", c.grid, c.grid * c.patch)},
      {"MLP", fmt::format("{}, {} hidden", c.mlp == nn::MlpKind::kGelu ? "GELU" : "SwiGLU", c.mlp_hidden)},
      {"family", c.family() + (c.rotary        ? " (rotary positions)"
                               : c.layer_scale ? " (layer scale)"
                                               : " (no layer scale)")}};
  if (c.registers > 0) out.facts.emplace_back(c.rotary ? "storage" : "registers", std::to_string(c.registers));
  if (c.normalisation == kSatelliteNormalisation) out.facts.emplace_back("pictures", "of satellites (SAT-493M)");
  return out;
}

constexpr const char* kRecognised =
    "a DINO, DINOv2 or DINOv3 vision transformer (no patch_embed, cls_token, pos_embed or rope_embed, and blocks that "
    "fit together)";
const Registry<PatchBackboneKind>::Add kVit({"vit", kRecognised, recognise, is_projection_head, describe});

}  // namespace

std::string VitConfig::name() const {
  struct Named {
    const char* letter;
    std::int64_t depth;
  };
  static const std::map<std::int64_t, Named> widths{{192, {"Ti", 12}},     {384, {"S", 12}},  {768, {"B", 12}},
                                                    {1024, {"L", 24}},     {1280, {"H", 32}}, {1536, {"g", 40}},
                                                    {kWidth7B, {"7B", 40}}};
  const auto named = widths.find(width);
  const char* plus = mlp == nn::MlpKind::kSwiGluSplit && width != kWidth7B ? "+" : "";
  std::string text = named != widths.end() && depth == named->second.depth
                         ? fmt::format("ViT-{}{}/{}", named->second.letter, plus, patch)
                         : fmt::format("ViT width {} depth {} patch {}", width, depth, patch);
  if (rotary) text = "DINOv3 " + text;
  if (registers > 0) text += fmt::format(" with {} {}", registers, rotary ? "storage tokens" : "registers");
  return text;
}

std::optional<VitConfig> vit_config(const StateDict& state) {
  const auto find = [&](const std::string& name) -> const Tensor* {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
  };
  const auto tokens = [&](const char* name) {
    const Tensor* found = find(name);
    return found && found->rank() == 3 ? found->size(1) : 0;
  };
  const Tensor *patch = find("patch_embed.proj.weight"), *position = find("pos_embed");
  const Tensor* periods = find("rope_embed.periods");
  if (!patch || !find("cls_token") || !find("blocks.0.attn.qkv.weight") || !position == !periods) return std::nullopt;
  if (patch->rank() != 4 || patch->size(0) >= kMaxWidth || patch->size(2) >= kMaxWidth || patch->size(1) != 3 ||
      patch->size(2) != patch->size(3))
    return std::nullopt;
  VitConfig config;
  config.width = patch->size(0);
  config.patch = patch->size(2);
  config.rotary = periods != nullptr;
  if (config.rotary) {
    if (periods->rank() != 1 || periods->size(0) == 0 || periods->size(0) >= kMaxWidth) return std::nullopt;
    config.head_width = 4 * periods->size(0);
    config.epsilon = 1e-5;
    config.qkv_bias = {find("blocks.0.attn.qkv.bias") != nullptr, find("blocks.0.attn.qkv.bias_mask") != nullptr};
    config.registers = tokens("storage_tokens");
    config.local_norm = find("local_cls_norm.weight") != nullptr;
    // The 7B has this norm whatever it was trained on. Of the others only the one of satellite pictures has it.
    if (config.local_norm && config.width != kWidth7B) config.normalisation = kSatelliteNormalisation;
  } else {
    const std::int64_t cells = std::max<std::int64_t>(tokens("pos_embed") - 1, 0);
    config.grid = std::llround(std::sqrt(static_cast<double>(cells)));
    if (position->rank() != 3 || config.grid * config.grid != position->size(1) - 1) return std::nullopt;
    config.registers = tokens("register_tokens");
    config.resize_by_scale = config.registers == 0;
  }
  if (config.width % config.head_width != 0) return std::nullopt;
  config.depth = 0;
  while (find(fmt::format("blocks.{}.attn.qkv.weight", config.depth))) ++config.depth;
  config.mlp = find("blocks.0.mlp.w12.weight")  ? nn::MlpKind::kSwiGlu
               : find("blocks.0.mlp.w1.weight") ? nn::MlpKind::kSwiGluSplit
                                                : nn::MlpKind::kGelu;
  const Tensor* last = find(config.mlp == nn::MlpKind::kGelu ? "blocks.0.mlp.fc2.weight" : "blocks.0.mlp.w3.weight");
  if (!last || last->rank() != 2 || last->size(1) >= kMaxWidth) return std::nullopt;
  config.mlp_hidden = last->size(1);
  config.layer_scale = find("blocks.0.ls1.gamma") != nullptr;
  config.mask_token = find("mask_token") != nullptr;
  return config;
}

Vit::Vit(const Scope& scope, const VitConfig& config)
    : config_(config), patch_embed_(make_patch_embed(scope / "patch_embed" / "proj", config)) {
  const std::int64_t d = config.width;
  check(d > 0 && config.head_width > 0 && d % config.head_width == 0,
        "vit: width {} is not a multiple of the head width {}", d, config.head_width);
  const Initializer random = init::trunc_normal(0.02f);
  cls_token_ = scope.parameter("cls_token", {1, 1, d}, random);
  if (config.rotary) {
    periods_ = (scope / "rope_embed").buffer("periods", {config.head_width / 4}, [&](Tensor& periods, Generator&) {
      periods.copy_from(rope_periods(config.head_width));
    });
  } else {
    pos_embed_ = scope.parameter("pos_embed", {1, config.grid * config.grid + 1, d}, random);
  }
  if (config.registers > 0)
    register_tokens_ =
        scope.parameter(config.rotary ? "storage_tokens" : "register_tokens", {1, config.registers, d}, random);
  if (config.mask_token) mask_token_ = scope.parameter("mask_token", {1, d}, init::zeros());
  for (std::int64_t i = 0; i < config.depth; ++i) blocks_.emplace_back(scope / "blocks" / i, block_config(config, i));
  norm_.emplace(scope / "norm", d, config.epsilon);
  if (config.local_norm) local_norm_.emplace(scope / "local_cls_norm", d, config.epsilon);
}

Vit Vit::from_state(StateDict state, std::string_view what, Device device, DType dtype) {
  const auto config = vit_config(state);
  check(config.has_value(), ErrorKind::kFormat, "{}: not {}; see what the file holds with 'usol info'", what,
        kRecognised);
  std::erase_if(state, [](const auto& entry) { return is_projection_head(entry.first); });
  ParamStore store(std::move(state), device, dtype);
  Vit vit(Scope(store), *config);
  store.load_report().require_ok(what);
  return vit;
}

Tensor Vit::position(std::int64_t h, std::int64_t w) const {
  if (config_.rotary) {
    const RopeTable table = rope_table(h, w, periods_);
    return stack({table.cos, table.sin}, 0).to(periods_.device());
  }
  const std::int64_t grid = config_.grid, d = config_.width;
  // The official code keeps the stored embedding for a square image of the stored number of tokens only.
  if (h == grid && w == grid) return pos_embed_;
  const Tensor patches = cast(slice(pos_embed_, 1, 1, grid * grid + 1), DType::kF32);
  const Tensor map = permute(reshape(patches, {1, grid, grid, d}), {0, 3, 1, 2});
  InterpolateOptions options;
  options.mode = InterpolateMode::kBicubic;
  if (config_.resize_by_scale) {
    options.scale_h = (static_cast<double>(h) + 0.1) / static_cast<double>(grid);
    options.scale_w = (static_cast<double>(w) + 0.1) / static_cast<double>(grid);
  } else {
    options.antialias = true;
  }
  const Tensor resized = permute(interpolate(map, h, w, options), {0, 2, 3, 1});
  return concat({slice(pos_embed_, 1, 0, 1), cast(reshape(resized, {1, h * w, d}), pos_embed_.dtype())}, 1);
}

Tensor Vit::position_of(const Tensor& images, const Tensor& at) const {
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  const Tensor place = at.defined() ? at : position(h, w);
  const std::int64_t rows = config_.rotary ? h * w : h * w + 1;
  check(place.rank() == 3 && place.size(1) == rows,
        "vit: expected the position of {} x {} patches, got one of shape {}", h, w, place.shape());
  return place;
}

Tensor Vit::embed(const Tensor& images, const Tensor& position, const Tensor& hidden) const {
  Tensor patches = patch_embed_(images);
  const DType dtype = patches.dtype();
  const std::int64_t d = config_.width, n = images.size(0);
  if (hidden.defined()) {
    check(mask_token_.defined(), "vit: patches are hidden, but the model has no mask token");
    patches = where(unsqueeze(hidden, 2), cast(reshape(mask_token_, {1, 1, d}), dtype), patches);
  }
  Tensor x = concat({expand(cast(cls_token_, dtype), {n, 1, d}), patches}, 1);
  if (!config_.rotary) x = add(x, cast(position, dtype));
  if (register_tokens_.defined())
    x = concat({slice(x, 1, 0, 1), expand(cast(register_tokens_, dtype), {n, config_.registers, d}),
                slice(x, 1, 1, x.size(1))},
               1);
  return x;
}

Tensor Vit::turned(const Tensor& x, const Tensor& position) const {
  return config_.rotary ? rope(x, select(position, 0, 0), select(position, 0, 1)) : x;
}

Tensor Vit::through_block(std::int64_t layer, const Tensor& x, const Tensor& position, const Context& context) const {
  const nn::TransformerBlock& block = blocks_[static_cast<std::size_t>(layer)];
  const nn::AttentionHooks hooks{.rotate = [&](const Tensor& part) { return turned(part, position); }};
  return block(x, context, [&](const Tensor& projected) { return block.attn.mix(projected, hooks); });
}

Tensor Vit::before_block(std::int64_t layer, const Tensor& images) const {
  const Tensor position = position_of(images, {});
  Tensor x = embed(images, position);
  for (std::int64_t i = 0; i < layer; ++i) x = through_block(i, x, position);
  return x;
}

Tensor Vit::as_map(const Tensor& tokens, std::int64_t h, std::int64_t w) const {
  const Tensor map = permute(slice(tokens, 1, 1 + config_.registers, tokens.size(1)), {0, 2, 1});
  return cast(reshape(map, {tokens.size(0), config_.width, h, w}), DType::kF32);
}

Tensor Vit::class_attention(const Tensor& qkv, const Tensor& position, std::int64_t h, std::int64_t w) const {
  const std::int64_t n = qkv.size(0), l = qkv.size(1), heads = config_.heads();
  const Tensor parts = reshape(qkv, {n, l, 3, heads, config_.head_width});
  const Tensor query = unsqueeze(select(select(parts, 2, 0), 1, 0), 3);  // [N, heads, head_width, 1], never turned
  const Tensor keys = contiguous(turned(permute(select(parts, 2, 1), {0, 2, 1, 3}), position));  // [N, heads, L, ...]
  const Tensor scores = affine(matmul(keys, query), 1 / std::sqrt(static_cast<double>(config_.head_width)));
  const Tensor attention = slice(softmax(reshape(scores, {n, heads, l})), 2, 1 + config_.registers, l);
  return reshape(attention, {n, heads, h, w});
}

PatchBackbone::PartMaps Vit::part_maps(const Tensor& images, const FeatureParts& parts, bool attention,
                                       const Tensor& at) const {
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  std::int64_t last = 0;
  for (const FeaturePart& part : parts) last = std::max(last, part.layer);
  PartMaps maps{std::vector<Tensor>(parts.size()), {}};
  const Tensor position = position_of(images, at);
  Tensor x = embed(images, position);
  for (std::int64_t layer = 0; layer <= last; ++layer) {
    const nn::TransformerBlock& block = blocks_[static_cast<std::size_t>(layer)];
    const bool attends = attention && layer == last;
    bool wants_projection = attends, wants_output = false;
    for (const FeaturePart& part : parts) {
      if (part.layer != layer) continue;
      (part.kind == FeatureKind::kOut ? wants_output : wants_projection) = true;
    }
    if (wants_projection) {
      const Projections projections(block, x, attends);
      for (std::size_t i = 0; i < parts.size(); ++i)
        if (parts[i].layer == layer && parts[i].kind != FeatureKind::kOut)
          maps.parts[i] = projections.map(parts[i].kind, [&](const Tensor& tokens) { return as_map(tokens, h, w); });
      if (attends) maps.attention = class_attention(projections.whole(), position, h, w);
    }
    if (layer < last || wants_output) x = through_block(layer, x, position);
    for (std::size_t i = 0; wants_output && i < parts.size(); ++i)
      if (parts[i] == FeaturePart{FeatureKind::kOut, layer}) maps.parts[i] = as_map((*norm_)(x), h, w);
  }
  return maps;
}

Tensor Vit::tokens_of_class(const Tensor& images) const {
  return cast(contiguous(select(forward(images), 1, 0)), DType::kF32);
}

Tensor Vit::last_qkv(const Tensor& images) const {
  check(!blocks_.empty(), "vit: a model without blocks has no features");
  const nn::TransformerBlock& block = blocks_.back();
  const Tensor qkv = block.attn.projected(block.norm1(before_block(config_.depth - 1, images)));
  return reshape(qkv, {qkv.size(0), qkv.size(1), 3, config_.heads(), config_.head_width});
}

Tensor Vit::forward(const Tensor& images, const Context& context, const Tensor& hidden) const {
  const Tensor position = position_of(images, {});
  Tensor x = embed(context.dtype ? cast(images, *context.dtype) : images, position, hidden);
  for (std::int64_t i = 0; i < config_.depth; ++i) x = through_block(i, x, position, context);
  return normed(*norm_, x);
}

}  // namespace usol
