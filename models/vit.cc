#include "usol/models/vit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/linear.h"
#include "usol/ops/matmul.h"
#include "usol/ops/softmax.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// Sizes that no model reaches: tensors without elements may claim any, and products must stay far from overflow.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;

bool is_projection_head(const std::string& name) { return name.starts_with("head."); }

nn::TransformerBlockConfig block_config(const VitConfig& c) {
  return {.width = c.width,
          .heads = c.heads(),
          .mlp_hidden = c.mlp_hidden,
          .mlp = c.swiglu ? nn::MlpKind::kSwiGlu : nn::MlpKind::kGelu,
          .layer_scale = c.layer_scale,
          .add_in_place = true};
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
  out.facts = {{"width", std::to_string(c.width)},
               {"depth", std::to_string(c.depth)},
               {"heads", std::to_string(c.heads())},
               {"patch", std::to_string(c.patch)},
               {"grid", fmt::format("{0} x {0} ({1} px)", c.grid, c.grid * c.patch)},
               {"MLP", fmt::format("{}, {} hidden", c.swiglu ? "SwiGLU" : "GELU", c.mlp_hidden)},
               {"family", c.layer_scale ? "DINOv2 (layer scale)" : "DINO (no layer scale)"}};
  if (c.registers > 0) out.facts.emplace_back("registers", std::to_string(c.registers));
  return out;
}

constexpr const char* kRecognised =
    "a DINO or DINOv2 vision transformer (no patch_embed, pos_embed, cls_token and blocks that fit together)";
const Registry<PatchBackboneKind>::Add kVit({"vit", kRecognised, recognise, is_projection_head, describe});

}  // namespace

std::string VitConfig::name() const {
  static const std::map<std::int64_t, const char*> letters{
      {192, "Ti"}, {384, "S"}, {768, "B"}, {1024, "L"}, {1536, "g"}};
  const auto letter = letters.find(width);
  const std::int64_t usual_depth = width == 1024 ? 24 : width == 1536 ? 40 : 12;
  std::string text = letter != letters.end() && depth == usual_depth
                         ? fmt::format("ViT-{}/{}", letter->second, patch)
                         : fmt::format("ViT width {} depth {} patch {}", width, depth, patch);
  if (registers > 0) text += fmt::format(" with {} registers", registers);
  return text;
}

std::optional<VitConfig> vit_config(const StateDict& state) {
  const auto find = [&](const std::string& name) -> const Tensor* {
    const auto found = state.find(name);
    return found == state.end() ? nullptr : &found->second;
  };
  const Tensor* patch = find("patch_embed.proj.weight");
  const Tensor* position = find("pos_embed");
  const Tensor* cls = find("cls_token");
  const Tensor* qkv = find("blocks.0.attn.qkv.weight");
  if (!patch || !position || !cls || !qkv) return std::nullopt;
  if (patch->rank() != 4 || patch->size(0) >= kMaxWidth || patch->size(2) >= kMaxWidth || patch->size(1) != 3 ||
      patch->size(2) != patch->size(3) || position->rank() != 3)
    return std::nullopt;
  VitConfig config;
  config.width = patch->size(0);
  config.patch = patch->size(2);
  const std::int64_t tokens = position->size(1) - 1;
  config.grid = std::llround(std::sqrt(static_cast<double>(std::max<std::int64_t>(tokens, 0))));
  if (config.grid * config.grid != tokens || config.width % config.head_width != 0) return std::nullopt;
  config.depth = 0;
  while (find(fmt::format("blocks.{}.attn.qkv.weight", config.depth))) ++config.depth;
  config.swiglu = find("blocks.0.mlp.w12.weight") != nullptr;
  const Tensor* hidden = find(config.swiglu ? "blocks.0.mlp.w3.weight" : "blocks.0.mlp.fc2.weight");
  if (!hidden || hidden->rank() != 2 || hidden->size(1) >= kMaxWidth) return std::nullopt;
  config.mlp_hidden = hidden->size(1);
  config.layer_scale = find("blocks.0.ls1.gamma") != nullptr;
  config.mask_token = find("mask_token") != nullptr;
  if (const Tensor* registers = find("register_tokens"); registers && registers->rank() == 3) {
    config.registers = registers->size(1);
    config.resize_by_scale = false;
  }
  return config;
}

Vit::Vit(const Scope& scope, const VitConfig& config)
    : config_(config), patch_embed_(scope / "patch_embed" / "proj", config.width, config.patch) {
  const std::int64_t d = config.width;
  check(d > 0 && d % config.head_width == 0, "vit: width {} is not a multiple of the head width {}", d,
        config.head_width);
  cls_token_ = scope.parameter("cls_token", {1, 1, d}, init::trunc_normal(0.02f));
  pos_embed_ = scope.parameter("pos_embed", {1, config.grid * config.grid + 1, d}, init::trunc_normal(0.02f));
  if (config.registers > 0)
    register_tokens_ = scope.parameter("register_tokens", {1, config.registers, d}, init::trunc_normal(0.02f));
  if (config.mask_token) mask_token_ = scope.parameter("mask_token", {1, d}, init::zeros());
  for (std::int64_t i = 0; i < config.depth; ++i) blocks_.emplace_back(scope / "blocks" / i, block_config(config));
  norm_.emplace(scope / "norm", d);
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

Tensor Vit::embed(const Tensor& images, const Tensor& at) const {
  const Tensor patches = patch_embed_(images);
  const std::int64_t p = config_.patch, d = config_.width, n = images.size(0);
  const std::int64_t h = images.size(2) / p, w = images.size(3) / p;
  Tensor x = add(concat({expand(cls_token_, {n, 1, d}), patches}, 1), at.defined() ? at : position(h, w));
  if (register_tokens_.defined())
    x = concat({slice(x, 1, 0, 1), expand(register_tokens_, {n, config_.registers, d}), slice(x, 1, 1, x.size(1))}, 1);
  return x;
}

Tensor Vit::before_block(std::int64_t layer, const Tensor& images, const Tensor& at) const {
  Tensor x = embed(images, at);
  for (std::int64_t i = 0; i < layer; ++i) x = blocks_[static_cast<std::size_t>(i)](x, Context{});
  return x;
}

Tensor Vit::layer_features(const Tensor& images, FeatureKind kind, std::int64_t layer, const Tensor& at) const {
  const std::int64_t d = config_.width, skipped = 1 + config_.registers;
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  const nn::TransformerBlock& block = blocks_[static_cast<std::size_t>(layer)];
  const nn::Linear& all = block.attn.qkv;
  const Tensor x = block.norm1(before_block(layer, images, at));
  const auto projection = [&](std::int64_t which) {  // 0 q, 1 k, 2 v: only the rows of the weight that are asked for
    const Tensor bias = all.bias.defined() ? slice(all.bias, 0, which * d, (which + 1) * d) : Tensor();
    const Tensor y = linear(x, slice(all.weight, 0, which * d, (which + 1) * d), bias);
    const Tensor map = permute(slice(y, 1, skipped, y.size(1)), {0, 2, 1});
    return cast(reshape(map, {y.size(0), d, h, w}), DType::kF32);
  };
  switch (kind) {
    case FeatureKind::kQ:
      return projection(0);
    case FeatureKind::kK:
      return projection(1);
    case FeatureKind::kV:
      return projection(2);
    case FeatureKind::kKqv:
      return concat({projection(1), projection(0), projection(2)}, 1);
  }
  fail(ErrorKind::kInvalidArgument, "vit: unknown feature kind");
}

PatchMaps Vit::layer_maps(const Tensor& images, FeatureKind kind, std::int64_t layer) const {
  const Tensor qkv = cast(this->qkv(images, layer), DType::kF32);  // [N, L, 3, heads, head_width]
  const std::int64_t n = qkv.size(0), l = qkv.size(1), skipped = 1 + config_.registers, d = config_.width;
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  const Tensor query = unsqueeze(select(select(qkv, 2, 0), 1, 0), 3);        // [N, heads, head_width, 1]
  const Tensor keys = contiguous(permute(select(qkv, 2, 1), {0, 2, 1, 3}));  // [N, heads, L, head_width]
  const Tensor scores = affine(matmul(keys, query), 1 / std::sqrt(static_cast<double>(config_.head_width)));
  const Tensor attention = slice(softmax(reshape(scores, {n, config_.heads(), l})), 2, skipped, l);
  const auto projection = [&](std::int64_t which) {
    const Tensor rows = reshape(slice(select(qkv, 2, which), 1, skipped, l), {n, h * w, d});
    return reshape(permute(rows, {0, 2, 1}), {n, d, h, w});
  };
  const Tensor features = kind == FeatureKind::kQ   ? projection(0)
                          : kind == FeatureKind::kK ? projection(1)
                          : kind == FeatureKind::kV ? projection(2)
                                                    : concat({projection(1), projection(0), projection(2)}, 1);
  return {features, reshape(attention, {n, config_.heads(), h, w})};
}

Tensor Vit::qkv(const Tensor& images, std::int64_t layer) const {
  const nn::TransformerBlock& block = blocks_[static_cast<std::size_t>(layer)];
  const Tensor qkv = block.attn.qkv(block.norm1(before_block(layer, images)));
  return reshape(qkv, {qkv.size(0), qkv.size(1), 3, config_.heads(), config_.head_width});
}

Tensor Vit::last_qkv(const Tensor& images) const {
  check(!blocks_.empty(), "vit: a model without blocks has no features");
  return qkv(images, config_.depth - 1);
}

Tensor Vit::forward(const Tensor& images) const { return (*norm_)(before_block(config_.depth, images)); }

}  // namespace usol
