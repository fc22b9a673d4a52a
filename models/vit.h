#pragma once
// The vision transformer of DINO, DINOv2 and DINOv3, as a feature extractor: image -> tokens -> blocks -> queries, keys
// and values of the last block. Second arrow of the pipeline: image -> DINO ViT features.
// Source: Dosovitskiy et al. 2021; Caron et al. 2021 (DINO); Oquab et al. 2023 and Darcet et al. 2024 (DINOv2,
// registers); Simeoni et al. 2025 (DINOv3, whose networks EUPE trains anew).

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
  std::int64_t head_width = 64;  // DINOv3 7B: 128
  std::int64_t patch = 16;       // px
  std::int64_t grid = 14;        // the position embedding is stored for grid x grid patches; not used by `rotary`
  std::int64_t mlp_hidden = 1536;
  std::int64_t registers = 0;            // DINOv2, DINOv3 (as "storage_tokens"): tokens between CLS and the patches
  bool layer_scale = false;              // DINOv2, DINOv3
  nn::MlpKind mlp = nn::MlpKind::kGelu;  // gated: DINOv2 ViT-g in one matrix, DINOv3's + and 7B in two
  bool mask_token = false;               // in the place of hidden patches, for forward() with a mask
  double drop_path = 0;                  // of the last block in training; it rises linearly from 0 at the first one
  /// How the position embedding is resized to another grid. true (DINO, DINOv2 without registers): bicubic with scale
  /// (n + 0.1) / grid; false (DINOv2 with registers): antialiased bicubic to the exact size.
  bool resize_by_scale = true;
  /// DINOv3: no position embedding; the patches' queries and keys are turned by their place (ops/rope.h) with the
  /// periods that are stored, head_width / 4 of them.
  bool rotary = false;
  nn::QkvBias qkv_bias = {};  // DINOv3: with a mask; 7B, and timm's files: none
  bool local_norm = false;    // DINOv3: "local_cls_norm", of training alone; stored, not used here
  double epsilon = 1e-6;      // of the norms; DINOv3: 1e-5
  Normalisation normalisation = {};

  std::int64_t heads() const { return width / head_width; }
  /// "DINO", "DINOv2" or "DINOv3".
  std::string family() const { return rotary ? "DINOv3" : layer_scale ? "DINOv2" : "DINO"; }
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
  std::string family() const override { return config_.family(); }
  std::int64_t patch_px() const override { return config_.patch; }
  std::int64_t layers() const override { return config_.depth; }
  bool has_class_token() const override { return true; }
  Normalisation normalisation() const override { return config_.normalisation; }

  /// The position embedding of a grid of h x w patches, [1, 1 + h w, D]; of a rotary model the cosines and the sines
  /// of its patches' angles, [2, h w, head_width] f32.
  Tensor position(std::int64_t h, std::int64_t w) const override;

  /// The last block's whole qkv projection, bias included, before anything is turned, CLS (and register) tokens first:
  /// [N, L, 3, heads, head_width].
  Tensor last_qkv(const Tensor& images) const;

  /// All blocks and the final norm: [N, L, D], in context.dtype if there is one. Gradients to all parameters; where
  /// context.training, drop path draws from context.rng. `hidden` (bool [N, L - 1], without registers): patches in
  /// whose place the mask token is, which the model must have.
  Tensor forward(const Tensor& images, const Context& context = {}, const Tensor& hidden = {}) const;

 protected:
  /// One pass for all parts. What none of them needs is not computed: the attention and MLP of the last block, say, if
  /// only its keys are asked for.
  PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool attention, const Tensor& at) const override;
  Tensor tokens_of_class(const Tensor& images) const override;

 private:
  /// position() of the images' grid, or `at` if it is that.
  Tensor position_of(const Tensor& images, const Tensor& at) const;
  Tensor embed(const Tensor& images, const Tensor& position, const Tensor& hidden = {}) const;
  /// Tokens that enter block `layer`.
  Tensor before_block(std::int64_t layer, const Tensor& images) const;
  Tensor through_block(std::int64_t layer, const Tensor& x, const Tensor& position, const Context& context = {}) const;
  /// Queries or keys [N, heads, L, head_width] turned by their places; themselves in a model that is not rotary.
  Tensor turned(const Tensor& x, const Tensor& position) const;
  /// A map [N, D, h, w] f32 of the patches' tokens among [N, L, D].
  Tensor as_map(const Tensor& tokens, std::int64_t h, std::int64_t w) const;
  /// The class token's attention [N, heads, h, w] of projected tokens [N, L, 3 D] f32.
  Tensor class_attention(const Tensor& qkv, const Tensor& position, std::int64_t h, std::int64_t w) const;

  VitConfig config_;
  nn::PatchEmbed patch_embed_;
  Tensor cls_token_, pos_embed_, periods_, register_tokens_, mask_token_;
  std::vector<nn::TransformerBlock> blocks_;
  std::optional<nn::LayerNorm> norm_, local_norm_;
};

}  // namespace usol
