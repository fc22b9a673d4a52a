#pragma once
// What files of DINOv3's vision transformers (and EUPE's, which have the same networks) need to have the tensors of the
// original ones, beyond Hugging Face's names (io/hub_names.h).
//
//   timm's names (of its class Eva), without pos_embed:
//     reg_token                                                 storage_tokens
//     blocks.N.{gamma_1, gamma_2}                               blocks.N.{ls1, ls2}.gamma
//     blocks.N.attn.{q_bias, v_bias}                            blocks.N.attn.qkv.bias, zeros for keys, and
//                                                               blocks.N.attn.qkv.bias_mask, 0 for keys, else 1
//     blocks.N.mlp.{fc1_g, fc1_x, fc2}                          blocks.N.mlp.{w1, w2, w3}
//   Then, of all files with storage_tokens and no pos_embed:
//     projectors                                                left out (EUPE's training)
//     no rope_embed.periods (hubs do not store them)            made: 100^(i / n) for i < n, n a quarter of the heads'
//                                                               width, which is 128 in the 7B (width 4096), else 64
//     a blocks.N.attn.qkv.bias_mask with NaN (saved before      0 for keys, else 1
//     it was set)
// Source: dinov3, models/vision_transformer.py, layers/{attention, rope_position_encoding}.py; timm, models/eva.py.

#include <array>
#include <map>
#include <string>

#include "usol/io/key_map.h"

namespace usol::io {

/// The rules above; leaves all other tensors alone. Throws Error(kFormat) if two names become one or a block has one of
/// q_bias and v_bias.
void complete_dinov3(std::map<std::string, Tensor>& tensors, KeyMapReport& report);

/// [q; k; v] along the first dimension. Throws Error(kFormat), naming the whole, unless all are there and alike.
Tensor joined_qkv(const std::string& name, const std::array<Tensor, 3>& parts);
/// Adds [queries; 0; values] as `name` and its mask as "<name>_mask". Throws like joined_qkv().
void add_bias_without_keys(std::map<std::string, Tensor>& tensors, const std::string& name, const Tensor& queries,
                           const Tensor& values);

}  // namespace usol::io
