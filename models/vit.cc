#include "usol/models/vit.h"

#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/nn/attention.h"
#include "usol/ops/attention.h"
#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/matmul.h"
#include "usol/ops/resize.h"
#include "usol/ops/softmax.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

// Adds a branch's last projection (times its layer scale) to the residual stream: in place where no gradient is wanted.
Tensor add_branch(Tensor x, const Tensor& h, const nn::Linear& layer, const Tensor& scale) {
  if (grad_enabled() && (requires_grad(x) || requires_grad(h) || requires_grad(layer.weight)))
    return add(x, scale.defined() ? mul(layer(h), scale) : layer(h));
  if (scale.defined()) return add(x, mul(layer(h), scale));
  linear_add_into(x, h, layer.weight, layer.bias);
  return x;
}

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
  if (patch->rank() != 4 || patch->size(1) != 3 || patch->size(2) != patch->size(3) || position->rank() != 3)
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
  if (!hidden || hidden->rank() != 2) return std::nullopt;
  config.mlp_hidden = hidden->size(1);
  config.layer_scale = find("blocks.0.ls1.gamma") != nullptr;
  config.mask_token = find("mask_token") != nullptr;
  if (const Tensor* registers = find("register_tokens"); registers && registers->rank() == 3) {
    config.registers = registers->size(1);
    config.resize_by_scale = false;
  }
  return config;
}

FeatureKind parse_feature_kind(std::string_view text) {
  if (text == "q") return FeatureKind::kQ;
  if (text == "k") return FeatureKind::kK;
  if (text == "v") return FeatureKind::kV;
  if (text == "kqv") return FeatureKind::kKqv;
  fail(ErrorKind::kUsage, fmt::format("features: expected q, k, v or kqv, got '{}'", text));
}

Vit::Block::Block(const Scope& scope, const VitConfig& c)
    : norm1(scope / "norm1", c.width),
      norm2(scope / "norm2", c.width),
      qkv(scope / "attn" / "qkv", c.width, 3 * c.width),
      proj(scope / "attn" / "proj", c.width, c.width),
      fc1(scope / "mlp" / (c.swiglu ? "w12" : "fc1"), c.width, c.swiglu ? 2 * c.mlp_hidden : c.mlp_hidden),
      fc2(scope / "mlp" / (c.swiglu ? "w3" : "fc2"), c.mlp_hidden, c.width) {
  if (!c.layer_scale) return;
  scale1 = (scope / "ls1").parameter("gamma", {c.width}, init::ones());
  scale2 = (scope / "ls2").parameter("gamma", {c.width}, init::ones());
}

Vit::Vit(const Scope& scope, const VitConfig& config) : config_(config) {
  const std::int64_t d = config.width;
  check(d > 0 && d % config.head_width == 0, "vit: width {} is not a multiple of the head width {}", d,
        config.head_width);
  patch_embed_.emplace(scope / "patch_embed" / "proj", d, config.patch);
  cls_token_ = scope.parameter("cls_token", {1, 1, d}, init::trunc_normal(0.02f));
  pos_embed_ = scope.parameter("pos_embed", {1, config.grid * config.grid + 1, d}, init::trunc_normal(0.02f));
  if (config.registers > 0)
    register_tokens_ = scope.parameter("register_tokens", {1, config.registers, d}, init::trunc_normal(0.02f));
  if (config.mask_token) mask_token_ = scope.parameter("mask_token", {1, d}, init::zeros());
  for (std::int64_t i = 0; i < config.depth; ++i) blocks_.emplace_back(scope / "blocks" / i, config);
  norm_.emplace(scope / "norm", d);
}

Vit Vit::from_state(StateDict state, std::string_view what, Device device, DType dtype) {
  const auto config = vit_config(state);
  check(config.has_value(), ErrorKind::kFormat,
        "{}: not a DINO or DINOv2 vision transformer (no patch_embed, pos_embed, cls_token and blocks that fit "
        "together); see what the file holds with 'usol info'",
        what);
  std::erase_if(state, [](const auto& entry) { return entry.first.starts_with("head."); });
  auto store = std::make_shared<ParamStore>(std::move(state), device, dtype);
  Vit vit(Scope(*store), *config);
  store->load_report().require_ok(what);
  vit.owned_ = std::move(store);
  return vit;
}

Tensor Vit::position_embedding(std::int64_t h, std::int64_t w) const {
  const std::int64_t grid = config_.grid, d = config_.width;
  // The official code keeps the stored embedding for a square image of the stored number of tokens only.
  if (h == grid && w == grid) return pos_embed_;
  const Tensor patches = cast(slice(pos_embed_, 1, 1, grid * grid + 1), DType::kF32);
  const Tensor map = permute(reshape(patches, {1, grid, grid, d}), {0, 3, 1, 2});
  ResizeOptions options;
  options.filter = ResizeFilter::kBicubic;
  if (config_.resize_by_scale) {
    options.scale_h = (static_cast<double>(h) + 0.1) / static_cast<double>(grid);
    options.scale_w = (static_cast<double>(w) + 0.1) / static_cast<double>(grid);
  } else {
    options.antialias = true;
  }
  const Tensor resized = permute(resize(map, h, w, options), {0, 2, 3, 1});
  return concat({slice(pos_embed_, 1, 0, 1), cast(reshape(resized, {1, h * w, d}), pos_embed_.dtype())}, 1);
}

Tensor Vit::embed(const Tensor& images, const Tensor& position) const {
  const Tensor patches = (*patch_embed_)(images);
  const std::int64_t p = config_.patch, d = config_.width, n = images.size(0);
  const std::int64_t h = images.size(2) / p, w = images.size(3) / p;
  Tensor x = add(concat({expand(cls_token_, {n, 1, d}), patches}, 1),
                 position.defined() ? position : position_embedding(h, w));
  if (register_tokens_.defined())
    x = concat({slice(x, 1, 0, 1), expand(register_tokens_, {n, config_.registers, d}), slice(x, 1, 1, x.size(1))}, 1);
  return x;
}

Tensor Vit::run_block(const Block& block, Tensor x) const {
  const std::int64_t n = x.size(0), l = x.size(1), heads = config_.heads();
  const Tensor qkv = block.qkv(block.norm1(x));
  const Tensor mixed = attention(nn::heads_of(qkv, 0, heads), nn::heads_of(qkv, 1, heads), nn::heads_of(qkv, 2, heads));
  x = add_branch(x, reshape(transpose(mixed, 1, 2), {n, l, config_.width}), block.proj, block.scale1);
  Tensor hidden;
  if (config_.swiglu) {
    const Tensor both = block.fc1(block.norm2(x));
    const std::int64_t half = config_.mlp_hidden;
    hidden = mul(silu(slice(both, 2, 0, half)), slice(both, 2, half, 2 * half));
  } else {
    hidden = block.fc1(block.norm2(x), Activation::kGelu);
  }
  return add_branch(x, hidden, block.fc2, block.scale2);
}

Tensor Vit::before_last_block(const Tensor& images, const Tensor& position) const {
  Tensor x = embed(images, position);
  for (std::size_t i = 0; i + 1 < blocks_.size(); ++i) x = run_block(blocks_[i], x);
  return x;
}

Tensor Vit::features(const Tensor& images, FeatureKind kind, const Tensor& position) const {
  check(!blocks_.empty(), "vit: a model without blocks has no features");
  const std::int64_t d = config_.width, skipped = 1 + config_.registers;
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  const Block& last = blocks_.back();
  const Tensor x = last.norm1(before_last_block(images, position));
  const auto projection = [&](std::int64_t which) {  // 0 q, 1 k, 2 v: only the rows of the weight that are asked for
    const Tensor bias = last.qkv.bias.defined() ? slice(last.qkv.bias, 0, which * d, (which + 1) * d) : Tensor();
    const Tensor y = linear(x, slice(last.qkv.weight, 0, which * d, (which + 1) * d), bias);
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

PatchMaps Vit::features_and_attention(const Tensor& images, FeatureKind kind) const {
  const Tensor qkv = cast(last_qkv(images), DType::kF32);  // [N, L, 3, heads, head_width]
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

Tensor Vit::last_qkv(const Tensor& images) const {
  check(!blocks_.empty(), "vit: a model without blocks has no features");
  const Block& last = blocks_.back();
  const Tensor qkv = last.qkv(last.norm1(before_last_block(images)));
  return reshape(qkv, {qkv.size(0), qkv.size(1), 3, config_.heads(), config_.head_width});
}

Tensor Vit::forward(const Tensor& images) const {
  Tensor x = embed(images, {});
  for (const Block& block : blocks_) x = run_block(block, x);
  return (*norm_)(x);
}

Tensor normalise_for_vit(const Tensor& image) {
  check(image.rank() == 3 && image.size(2) == 3 && image.dtype() == DType::kU8,
        "normalise_for_vit: expected a u8 image [H, W, 3], got {} {}", image.dtype(), image.shape());
  constexpr std::array<float, 3> kMean{0.485f, 0.456f, 0.406f}, kStd{0.229f, 0.224f, 0.225f};
  const std::int64_t pixels = image.size(0) * image.size(1);
  const Tensor dense = image.contiguous();
  Tensor out = Tensor::empty({1, 3, image.size(0), image.size(1)});
  const std::uint8_t* from = dense.data<std::uint8_t>();
  float* to = out.mutable_data<float>();
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<float, 256> table{};  // the same three roundings as torchvision's ToTensor and Normalize
    for (std::size_t v = 0; v < 256; ++v) table[v] = (static_cast<float>(v) / 255.0f - kMean[c]) / kStd[c];
    for (std::int64_t i = 0; i < pixels; ++i)
      to[static_cast<std::int64_t>(c) * pixels + i] = table[from[3 * i + static_cast<std::int64_t>(c)]];
  }
  return out;
}

}  // namespace usol
