#pragma once
// Which boxes a training takes for those of its objects: annotations hold some beside the masks, and not all agree.

#include <string_view>

#include "usol/train/dataset.h"

namespace usol::train {

enum class TruthBoxes {
  kFile,     // the annotations'
  kMasks,    // around the masks
  kCorners,  // as FreeSOLO's release reads its own file: the second corner taken for width and height, so that a box
             // reaches to the sum of its corners (those beyond the picture are cut off when it is resized)
};
/// "file", "masks", "corners". Throws Error(kUsage) otherwise.
TruthBoxes parse_truth_boxes(std::string_view text);

/// Replaces the boxes of a sample as its data set has loaded it.
void set_truth_boxes(CompactSample& sample, TruthBoxes boxes);

}  // namespace usol::train
