#pragma once
// Between two rounds of self-training: what the detector found on its training pictures, and those of the masks it was
// trained on that it did not find again, are the truth of the next round.
// Source: Wang et al. 2023 (CutLER), section 3.4 and tools/get_self_training_ann.py.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/io/coco.h"
#include "usol/models/preset.h"

namespace usol::train {

struct RoundOptions {
  /// kRelease: as the public script, the box's area is written instead of the mask's, each record's width and height
  /// are exchanged, empty masks stay, and where predicted and previous masks of a picture differ in size (cameras'
  /// orientation, see docs/deviations.md) the predictions are dropped without a word. kPaper: none of this.
  Preset preset = Preset::kPaper;
  double score = 0.7;  // of predictions that are kept, at least
  double iou = 0.5;    // previous masks stay if they overlap each kept prediction less than this
};

/// An object of the next round.
struct RoundObject {
  const io::AnnotationSet* set = nullptr;  // that it comes from
  const io::CocoAnnotation* annotation = nullptr;
  const io::CocoImage* image = nullptr;  // its picture
};

struct RoundResult {
  std::vector<RoundObject> objects;  // in the order of the script: a picture's predictions, then its surviving masks
  std::int64_t predicted = 0, previous = 0;  // among them
  std::int64_t below_score = 0, found_again = 0;
  std::int64_t differing_sizes = 0;  // pictures; kRelease only
};

/// Chooses the objects of the next round; of a picture in which some have no mask, by the overlap of boxes. Both sets
/// must outlive the result. Throws Error(kFormat) naming the record for a prediction without score, for an object with
/// neither mask nor box, for a prediction of a picture or category that `previous` lacks, or (kPaper) of another size
/// than the picture's masks.
RoundResult next_round(const io::AnnotationSet& previous, const io::AnnotationSet& predictions,
                       const RoundOptions& options);

/// The pictures of the next round's file (kPaper): those of `previous`, with the sides that their masks have. (The
/// public MaskCut exchanges them in its files.)
std::vector<io::CocoImage> round_images(const io::AnnotationSet& previous, const RoundResult& result);

/// An object as a record of the next round's file.
std::string round_record(const RoundObject& object, std::int64_t id, Preset preset);

}  // namespace usol::train
