#pragma once
// The vision transformer of DINO and DINOv2, as a feature extractor: image -> tokens -> blocks -> queries, keys and
// values of the last block. Second arrow of the pipeline: image -> DINO ViT features.
// Source: Dosovitskiy et al. 2021; Caron et al. 2021 (DINO); Oquab et al. 2023 and Darcet et al. 2024 (DINOv2,
// registers).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usol/nn/linear.h"
#include "usol/nn/norm.h"
#include "usol/nn/param_store.h"
#include "usol/nn/patch_embed.h"

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

/// Which projection of the last block is the feature.
enum class FeatureKind { kQ, kK, kV, kKqv };
/// Parses "q", "k", "v", "kqv". Throws Error(kUsage) otherwise.
FeatureKind parse_feature_kind(std::string_view text);

/// What the last block knows of the patches.
struct PatchMaps {
  Tensor features;   // f32 [N, D, h, w], see Vit::features()
  Tensor attention;  // f32 [N, heads, h, w], of the class token; with what goes to it and to registers a head sums to 1
};

class Vit {
 public:
  Vit(const Scope& scope, const VitConfig& config);
  /// A model that shares `state`'s tensors, for inference. Throws Error listing the keys that do not fit; the
  /// projection head of a full DINO checkpoint ("head.*") is left out. `what` names the file in errors.
  static Vit from_state(StateDict state, std::string_view what, Device device = {}, DType dtype = DType::kF32);

  const VitConfig& config() const { return config_; }

  /// Patch features for MaskCut: `images` [N, 3, H, W] normalised (H, W multiples of the patch) -> [N, D, h, w] f32,
  /// D = width (3 width for kqv, in the order k, q, v). The last block's attention and MLP are not computed.
  /// `position` is position_embedding(H / patch, W / patch) where the caller has made it before.
  Tensor features(const Tensor& images, FeatureKind kind = FeatureKind::kK, const Tensor& position = {}) const;

  /// The position embedding of a grid of h x w patches: [1, 1 + h w, D]. It depends on the weights alone.
  Tensor position_embedding(std::int64_t h, std::int64_t w) const;

  /// The same features, and the attention that the class token pays to the patches in the last block.
  PatchMaps features_and_attention(const Tensor& images, FeatureKind kind = FeatureKind::kK) const;

  /// The last block's whole qkv projection, bias included, CLS (and register) tokens first: [N, L, 3, heads,
  /// head_width].
  Tensor last_qkv(const Tensor& images) const;

  /// All blocks and the final norm: [N, L, D].
  Tensor forward(const Tensor& images) const;

 private:
  struct Block {
    nn::LayerNorm norm1, norm2;
    nn::Linear qkv, proj;
    nn::Linear fc1, fc2;  // SwiGLU: w12 and w3
    Tensor scale1, scale2;
    Block(const Scope& scope, const VitConfig& config);
  };

  Tensor embed(const Tensor& images, const Tensor& position) const;
  Tensor run_block(const Block& block, Tensor x) const;
  /// Tokens that enter block `depth - 1`.
  Tensor before_last_block(const Tensor& images, const Tensor& position = {}) const;

  VitConfig config_;
  std::shared_ptr<ParamStore> owned_;  // keeps what from_state() made
  std::optional<nn::PatchEmbed> patch_embed_;
  Tensor cls_token_, pos_embed_, register_tokens_, mask_token_;
  std::vector<Block> blocks_;
  std::optional<nn::LayerNorm> norm_;
};

/// What DINO's preprocessing does to a decoded image [H, W, 3] u8 once it has its final size: to [1, 3, H, W] f32, /
/// 255, minus mean (.485 .456 .406), / standard deviation (.229 .224 .225).
Tensor normalise_for_vit(const Tensor& image);

}  // namespace usol
