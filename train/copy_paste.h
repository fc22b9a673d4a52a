#pragma once
// Copy-paste: objects of one picture of a batch are pasted, smaller, into another, so that there are more objects to
// learn from. Source: Ghiasi et al. 2021, "Simple Copy-Paste"; Wang et al. 2023 (CutLER), section 3.3 and its code;
// Wang et al. 2022 (FreeSOLO), whose code pastes at full size (least_ratio 1) and any number of objects.

#include <cstdint>
#include <vector>

#include "usol/models/preset.h"
#include "usol/tensor/generator.h"
#include "usol/train/dataset.h"

namespace usol::train {

struct CopyPasteOptions {
  /// kRelease: as the public code, pasted objects that vanished stay (with an empty box), the offsets of boxes pasted
  /// into a picture without objects are exchanged, and the annotations' boxes stay where nothing was pasted. kPaper:
  /// the vanished are dropped, and boxes are always those of the masks.
  Preset preset = Preset::kPaper;
  double least_ratio = 0.3, most_ratio = 1;  // size of the pasted picture relative to the target
  bool any_number = false;  // of the n objects of a picture 0 ... n are pasted, not 1 ... n - 1 (FreeSOLO's)
};

/// What is pasted, and where.
struct Paste {
  std::vector<std::int64_t> objects;  // of the source, in this order
  double ratio = 1;
  std::int64_t x = 0, y = 0;  // of the pasted picture's corner
};

/// Chooses: 1 object if the source has one, else 1 ... n - 1; with any_number 0 ... n. Nothing for a source without
/// objects.
Paste choose_paste(const Sample& target, const Sample& source, const CopyPasteOptions& options, Generator& generator);
/// The target with objects of the source: the source is stretched to ratio times the target's size (bilinear, truncated
/// to 8 bits; a mask is wherever its weight is not 0). A pasted object that covers half of an existing object or more
/// is left out; what the others hide of existing ones is removed.
Sample pasted(const Sample& target, const Sample& source, const Paste& paste, Preset preset);
/// Pastes among n pictures: target i gets objects of source n - 1 - i.
std::vector<Sample> copy_pasted(const std::vector<Sample>& targets, const std::vector<Sample>& sources,
                                const CopyPasteOptions& options, std::vector<Generator>& generators);
/// The same within a group, all pictures as they were before.
inline std::vector<Sample> copy_pasted(const std::vector<Sample>& group, const CopyPasteOptions& options,
                                       std::vector<Generator>& generators) {
  return copy_pasted(group, group, options, generators);
}

}  // namespace usol::train
