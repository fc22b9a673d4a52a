#include "usol/train/truth_boxes.h"

#include <cstdint>
#include <vector>

#include "usol/io/rle.h"
#include "usol/tensor/check.h"

namespace usol::train {

TruthBoxes parse_truth_boxes(std::string_view text) {
  if (text == "file") return TruthBoxes::kFile;
  if (text == "masks") return TruthBoxes::kMasks;
  check(text == "corners", ErrorKind::kUsage, "truth-boxes: expected file, masks or corners, got '{}'", text);
  return TruthBoxes::kCorners;
}

void set_truth_boxes(CompactSample& sample, TruthBoxes boxes) {
  if (boxes == TruthBoxes::kFile) return;
  std::vector<float> sides;
  if (boxes == TruthBoxes::kMasks) {
    for (const io::Rle& mask : sample.masks) {
      const auto [left, top, width, height] = io::rle_to_box(mask);
      for (const double side : {left, top, left + width, top + height}) sides.push_back(static_cast<float>(side));
    }
  } else {
    sides = sample.boxes.to_vector<float>();
    for (std::size_t i = 0; i < sides.size(); i += 4) {
      sides[i + 2] += sides[i];
      sides[i + 3] += sides[i + 1];
    }
  }
  sample.boxes = Tensor::from(sides, {sample.size(), 4});
}

}  // namespace usol::train
