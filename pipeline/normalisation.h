#pragma once
// What pictures are normalised by before a network of weights sees them: the networks here are ImageNet's, but for
// DINOv3's of satellite pictures, and not every file of those says so.

#include <map>
#include <string>

#include "usol/models/patch_backbone.h"
#include "usol/tensor/settings.h"

namespace usol {

/// Declares the setting "normalisation": auto, imagenet or satellite.
void declare_normalisation(Settings& settings, std::string& choice);

struct ChosenNormalisation {
  Normalisation values;
  std::string reason;  // why these, for people
};
/// What `choice` says. auto: what a hub's folder says (`metadata` of its checkpoint: "config.image_mean"); else what
/// the network says (Vit knows the satellite model ViT-L by its names); else satellite if "sat493m" stands in the name
/// of the file of weights or of its folder, since nothing in the 7B's own file tells; else the network's own.
ChosenNormalisation choose_normalisation(const std::string& choice, const PatchBackbone& backbone,
                                         const std::string& weights,
                                         const std::map<std::string, std::string>& metadata);

}  // namespace usol
