#pragma once
// The names of DINO's, DINOv2's and DINOv3's vision transformers on the hubs, brought to the original ones. Which hub a
// file is from, its set of names decides. What only DINOv3's files need beyond this is in io/dinov3_names.h.
//
//   Hugging Face's ViTModel, Dinov2Model, Dinov2WithRegistersModel, behind any prefix ("vit.", "dinov2."):
//     embeddings.{cls_token, mask_token, register_tokens}       cls_token, mask_token, register_tokens
//     embeddings.position_embeddings                            pos_embed
//     embeddings.patch_embeddings.projection                    patch_embed.proj
//     encoder.layer.N.{layernorm_before, norm1}                 blocks.N.norm1; likewise layernorm_after, norm2
//     encoder.layer.N.attention.attention.{query, key, value}   thirds of blocks.N.attn.qkv
//     encoder.layer.N.attention.output.dense                    blocks.N.attn.proj
//     encoder.layer.N.{intermediate.dense, mlp.fc1}             blocks.N.mlp.fc1; output.dense, mlp.fc2: mlp.fc2
//     encoder.layer.N.mlp.{weights_in, weights_out}             blocks.N.mlp.{w12, w3}
//     encoder.layer.N.layer_scale1.lambda1                      blocks.N.ls1.gamma; likewise layer_scale2
//     layernorm                                                 norm
//     pooler, and beside the prefix: classifier, decoder        left out
//   DINOv3ViTModel, likewise behind any prefix; "layer." may be "model.layer.":
//     embeddings.{cls_token, mask_token}                        cls_token, mask_token
//     embeddings.register_tokens                                storage_tokens
//     embeddings.patch_embeddings                               patch_embed.proj
//     layer.N.{norm1, norm2}                                    blocks.N.{norm1, norm2}
//     layer.N.attention.{q_proj, k_proj, v_proj}                thirds of blocks.N.attn.qkv; without k_proj.bias zeros,
//                                                               and blocks.N.attn.qkv.bias_mask, 0 for keys, else 1
//     layer.N.attention.o_proj                                  blocks.N.attn.proj
//     layer.N.mlp.{up_proj, down_proj}                          blocks.N.mlp.{fc1, fc2}; with gate_proj:
//     layer.N.mlp.{gate_proj, up_proj, down_proj}               blocks.N.mlp.{w1, w2, w3}
//     layer.N.layer_scale1.lambda1                              blocks.N.ls1.gamma; likewise layer_scale2
//     norm                                                      norm
//   timm's, where they differ from the original:
//     reg_token; cls_token with the position's first row added; pos_embed without that row
//                                                               register_tokens; cls_token; pos_embed with a row of
//                                                               zeros
//     blocks.N.mlp.{fc1, fc2}, where fc1 is twice as wide as fc2 takes
//                                                               blocks.N.mlp.{w12, w3}
// Source: transformers, models/{vit, dinov2, dinov2_with_registers, dinov3_vit}/modeling_*.py; timm,
// models/vision_transformer.py (_convert_dinov2).

#include "usol/io/key_map.h"

namespace usol::io {

/// Renames the tensors if they are a hub's, says so in `report`, and leaves all others alone. Throws Error(kFormat) if
/// the names are Hugging Face's but for one that none of these models has, if a layer lacks one of query, key and
/// value, or if timm's positions have another number of rows.
void hub_to_original_names(std::map<std::string, Tensor>& tensors, KeyMapReport& report);

}  // namespace usol::io
