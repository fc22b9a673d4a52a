#pragma once
// Says what a set of named tensors is: which architecture they fit, read off names and shapes alone. `usol info` prints
// it, and errors about weights that do not fit a model quote it.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

struct Description {
  std::string architecture;                                // "ViT-S/16", "ResNet-50", "Cascade Mask R-CNN"; "" unknown
  std::vector<std::pair<std::string, std::string>> facts;  // {"width", "384"}, {"grid", "14 x 14 (224 px)"} ...
  std::vector<std::string> missing;                        // names (with shapes) that the architecture needs
  std::vector<std::string> mismatched;                     // "name: expected [2, 3], got [3, 2]"
  std::vector<std::string> unexpected;                     // names that it does not have, a classifier's for example
};

/// Describes what a registered kind of patch backbone or detector recognises, or a ResNet (torchvision's or
/// Detectron2's names, the latter also behind "backbone.bottom_up."). The lists stay empty where sizes cannot be read.
Description describe_weights(const std::map<std::string, Tensor>& tensors);

}  // namespace usol
