#pragma once
// The names of ConvNeXts on the hubs, brought to the official ones (facebookresearch's ConvNeXt and DINOv3). Which hub
// a file is from, its set of names decides.
//
//   Hugging Face's DINOv3ConvNextModel, with "model." before "stages" or without:
//     stages.0.downsample_layers.{0, 1}                  downsample_layers.0.{0, 1}; likewise the others'
//     stages.S.layers.B.{depthwise_conv, layer_norm}     stages.S.B.{dwconv, norm}
//     stages.S.layers.B.{pointwise_conv1, pointwise_conv2, gamma}
//                                                        stages.S.B.{pwconv1, pwconv2, gamma}
//     layer_norm                                         norm
//   timm's ConvNeXt:
//     stem.{0, 1}, stages.S.downsample.{0, 1}            downsample_layers.0.{0, 1}, downsample_layers.S.{0, 1}
//     stages.S.blocks.B.{conv_dw, norm, gamma}           stages.S.B.{dwconv, norm, gamma}
//     stages.S.blocks.B.mlp.{fc1, fc2}                   stages.S.B.{pwconv1, pwconv2}; 1 x 1 convolutions as matrices
//     head.norm                                          norm
//     head.fc, and others of "head."                     left out
// Source: transformers, models/dinov3_convnext/modeling_dinov3_convnext.py; timm, models/convnext.py.

#include "usol/io/key_map.h"

namespace usol::io {

/// Renames the tensors if they are a hub's ConvNeXt, says so in `report`, and leaves all others alone. Throws
/// Error(kFormat) for a name that no such model has.
void convnext_to_original_names(std::map<std::string, Tensor>& tensors, KeyMapReport& report);

}  // namespace usol::io
