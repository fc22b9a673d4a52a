#pragma once
// One block of a vision transformer: x += ls1(attn(norm1(x))), then x += ls2(mlp(norm2(x))), with norms before the
// branches. Layer scale and drop path are there if wanted. Parameter names are those of timm and DINO.
// Source: Dosovitskiy et al. 2021; Touvron et al. 2021, "Going deeper with Image Transformers" (layer scale).

#include <cstdint>
#include <functional>

#include "usol/nn/attention.h"
#include "usol/nn/context.h"
#include "usol/nn/mlp.h"
#include "usol/nn/norm.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/tensor.h"

namespace usol::nn {

struct TransformerBlockConfig {
  std::int64_t width = 384, heads = 6;  // D, a multiple of heads
  std::int64_t mlp_hidden = 1536;
  MlpKind mlp = MlpKind::kGelu;
  QkvBias qkv_bias = {};
  bool layer_scale = false;  // "ls1.gamma", "ls2.gamma" [D]
  double epsilon = 1e-6;     // of the norms
  double drop_path = 0;      // probability of leaving a branch out in training
  /// Without a gradient and layer scale, a branch's last product adds to x in x's own memory: one rounding less, and no
  /// copy. The block then overwrites its input.
  bool add_in_place = false;
};

struct TransformerBlock {
  /// What stands between qkv and proj: projected [..., 3 D] -> [..., D].
  using Mixer = std::function<Tensor(const Tensor& projected)>;

  LayerNorm norm1, norm2;
  Attention attn;
  Mlp mlp;
  Tensor scale1, scale2;  // undefined without layer scale
  double drop_path;
  bool add_in_place;

  TransformerBlock(const Scope& scope, const TransformerBlockConfig& config);

  /// x [N, ..., D] -> the same shape. Without `mixer`, x is [N, L, D] and all tokens attend to each other; with it, the
  /// model decides which do (windows).
  Tensor operator()(Tensor x, const Context& context, const Mixer& mixer = {}) const;

 private:
  Tensor add_branch(Tensor x, const Tensor& hidden, const Linear& last, const Tensor& scale,
                    const Context& context) const;
};

}  // namespace usol::nn
