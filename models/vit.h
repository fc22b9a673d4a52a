#pragma once
// The vision transformer of DINO and DINOv2, as a feature extractor: image -> tokens -> blocks -> queries, keys and
// values of the last block. Second arrow of the pipeline: image -> DINO ViT features.
// Source: Dosovitskiy et al. 2021; Caron et al. 2021 (DINO); Oquab et al. 2023 and Darcet et al. 2024 (DINOv2,
// registers).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usol/models/patch_backbone.h"
#include "usol/nn/norm.h"
#include "usol/nn/param_store.h"
#include "usol/nn/patch_embed.h"
#include "usol/nn/transformer_block.h"

namespace usol {

/// A ViT's sizes. Parameter names and shapes are those of the official checkpoints.
struct VitConfig {
  std::int64_t width = 384;  // D, a multiple of head_width
  std::int64_t depth = 12;
  std::int64_t head_width = 64;
  std::int64_t patch = 16;  // px
  std::int64_t grid = 14;   // the position embedding is stored for grid x grid patches
  std::int64_t mlp_hidden = 1536;
  std::int64_t registers = 0;  // DINOv2: tokens between CLS and the patches
  bool layer_scale = false;    // DINOv2
  bool swiglu = false;         // DINOv2 ViT-g: gated MLP
  bool mask_token = false;     // DINOv2: stored, not used here
  /// How the position embedding is resized to another grid. true (DINO, DINOv2 without registers): bicubic with scale
  /// (n + 0.1) / grid; false (DINOv2 with registers): antialiased bicubic to the exact size.
  bool resize_by_scale = true;

  std::int64_t heads() const { return width / head_width; }
  /// "ViT-S/16", or the numbers for a size without a name.
  std::string name() const;
};

/// Reads the sizes off a checkpoint's shapes; nothing if it is not a ViT of this kind.
std::optional<VitConfig> vit_config(const StateDict& state);

class Vit : public PatchBackbone {
 public:
  Vit(const Scope& scope, const VitConfig& config);
  /// A model that shares `state`'s tensors, for inference. Throws Error listing the keys that do not fit; the
  /// projection head of a full DINO checkpoint ("head.*") is left out. `what` names the file in errors.
  static Vit from_state(StateDict state, std::string_view what, Device device = {}, DType dtype = DType::kF32);

  const VitConfig& config() const { return config_; }
  std::string name() const override { return config_.name(); }
  std::int64_t patch_px() const override { return config_.patch; }
  std::int64_t layers() const override { return config_.depth; }

  /// The position embedding of a grid of h x w patches: [1, 1 + h w, D].
  Tensor position(std::int64_t h, std::int64_t w) const override;

  /// The last block's whole qkv projection, bias included, CLS (and register) tokens first: [N, L, 3, heads,
  /// head_width].
  Tensor last_qkv(const Tensor& images) const;

  /// All blocks and the final norm: [N, L, D].
  Tensor forward(const Tensor& images) const;

 protected:
  /// The attention and MLP of block `layer` are not computed.
  Tensor layer_features(const Tensor& images, FeatureKind kind, std::int64_t layer, const Tensor& at) const override;
  PatchMaps layer_maps(const Tensor& images, FeatureKind kind, std::int64_t layer) const override;

 private:
  Tensor embed(const Tensor& images, const Tensor& position) const;
  /// Tokens that enter block `layer`.
  Tensor before_block(std::int64_t layer, const Tensor& images, const Tensor& position = {}) const;
  Tensor qkv(const Tensor& images, std::int64_t layer) const;

  VitConfig config_;
  nn::PatchEmbed patch_embed_;
  Tensor cls_token_, pos_embed_, register_tokens_, mask_token_;
  std::vector<nn::TransformerBlock> blocks_;
  std::optional<nn::LayerNorm> norm_;
};

}  // namespace usol
