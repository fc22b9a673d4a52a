#pragma once
// ViTDet: a plain vision transformer as a detector's backbone. Most blocks attend within windows, four to the whole
// map, with relative positions; a simple feature pyramid makes p2 ... p6 of the last map alone.
// The names are Detectron2's ("net.blocks.0.attn.qkv.weight", "simfp_2.0.weight" ...): its checkpoints load by name,
// and DINO's ViT fits "net". Source: Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object
// Detection"; relative positions: Li et al. 2022, "MViTv2"; facts of Detectron2's vit.py and its ViTDet project.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/nn/conv.h"
#include "usol/nn/param_store.h"
#include "usol/nn/patch_embed.h"
#include "usol/nn/transformer_block.h"

namespace usol {

/// ViTDet's sizes; the defaults are those of ViT-B.
struct VitDetConfig {
  std::int64_t width = 768, depth = 12, heads = 12, mlp_hidden = 3072;
  std::int64_t patch = 16;   // px
  std::int64_t window = 14;  // patches
  std::vector<std::int64_t> global_blocks{2, 5, 8, 11};
  std::int64_t image_px = 1024;     // pictures are padded to this square; the relative positions are stored for it
  std::int64_t position_grid = 14;  // the position embedding is stored for so many patches each way ...
  bool position_of_class = true;    // ... after one for a class token, which is not used
  double drop_path = 0.1;           // of the last block; less before it, 0 in the first
  std::int64_t channels = 256;      // of the pyramid
};

/// The settings of a training with ViTDet, for a ViT with patches of 16 pixels.
struct VitDetSettings : BackboneSettings {
  std::int64_t width = 768, depth = 12;  // every 64 of the width are a head
  std::int64_t image_px = 1024;
  double drop_path = 0.1;

  void declare(Settings& settings) override;
  MakeBackbone make(std::int64_t channels) const override;
  std::unique_ptr<BackboneSettings> clone() const override { return std::make_unique<VitDetSettings>(*this); }
};

/// The last block of each of four equal parts. Throws Error unless depth is a positive multiple of 4.
std::vector<std::int64_t> evenly_spaced_global_blocks(std::int64_t depth);

/// Reads the sizes off a detector's shapes, whose backbone lies under `prefix` ("backbone."); nothing if it is no
/// ViTDet. drop_path is 0: no file holds it.
std::optional<VitDetConfig> vitdet_config(const StateDict& state, const std::string& prefix);

class VitDet : public Backbone {
 public:
  /// Throws Error on sizes that do not fit together.
  VitDet(const Scope& scope, const VitDetConfig& config);

  /// p2 ... p6 for a patch of 16 pixels.
  const std::vector<FeatureSpec>& outputs() const override { return outputs_; }
  std::vector<Tensor> forward(const Tensor& images, const Context& context) const override;
  /// Two patches: the pyramid's smallest map of its own has half the resolution.
  std::int64_t size_divisibility_px() const override { return 2 * config_.patch; }
  std::int64_t square_px() const override { return config_.image_px; }
  std::string name() const override { return "ViTDet"; }

 private:
  struct Block {
    nn::TransformerBlock block;
    Tensor rel_pos_h, rel_pos_w;  // [2 size - 1, D / heads] of row and column differences
    std::int64_t window;          // 0: attends to the whole map

    Block(const Scope& scope, const VitDetConfig& config, std::int64_t index);
    /// x [N, h, w, D].
    Tensor operator()(const Tensor& x, const Context& context) const;
    /// What stands between the projections: a map [N, h, w, 3 D] -> [N, h, w, D].
    Tensor mix(const Tensor& projected) const;
    Tensor attend(const Tensor& projected) const;
  };
  struct Pyramid;

  Tensor position_embedding(std::int64_t h, std::int64_t w) const;
  /// Tokens of all blocks: [N, h, w, D].
  Tensor tokens(const Tensor& images, const Context& context) const;

  VitDetConfig config_;
  nn::PatchEmbed patch_embed_;
  Tensor pos_embed_;
  std::vector<Block> blocks_;
  std::shared_ptr<Pyramid> pyramid_;
  std::vector<FeatureSpec> outputs_;
};

/// Makes a ViTDet of that config.
MakeBackbone vitdet_backbone(const VitDetConfig& config);

}  // namespace usol
