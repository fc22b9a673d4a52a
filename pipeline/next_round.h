#pragma once
// Between two rounds of self-training, over files: the masks that a detector was trained on and what it then found on
// the same pictures -> the annotations of the next round. train/self_train.h chooses the objects.

#include <string>

#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct NextRoundConfig {
  std::string previous;          // COCO file that the detector was trained on
  std::string predictions;       // what it found on the same pictures: COCO file or results, with scores
  std::string image_root = {};   // the pictures, for images whose height and width the files lack; may be empty
  bool exif = true;              // those heights and widths: of pictures turned as cameras note it in their files
  std::string preset = "paper";  // "release": records as the public script writes them (train/self_train.h)
  std::string match = "id";      // how pictures of the two files belong together: "id" or "file_name"
  bool ids_are_certain = false;  // "id" even where an id stands for pictures of two names
  double score = 0.7;            // predictions of at least this score are kept
  double overlap = 0.5;          // masks of before stay if their IoU with each kept prediction is less than this

  /// Declares all but `ids_are_certain`. `asked_for`: also the switch "self-training", for a program that has other
  /// work to choose.
  void declare(Settings& settings, bool* asked_for = nullptr);
};

/// Writes the annotations of the next round to the COCO file `out`: each picture's kept predictions, then the masks of
/// before that were not found again, numbered 1, 2, ...; and returns kSuccess. `info` names both inputs by SHA-256. An
/// `out` that exists is an error (kExists) unless run.existing is kReplace or kContinue: it is always made anew. With
/// run.dry_run it says what would be done. Throws Error(kUsage) for files that are missing or an output that
/// is an input, what read_coco(), eval::match_images() and train::next_round() throw, and Error(kInterrupted) when
/// asked to stop.
int make_next_round(const Run& run, const NextRoundConfig& config, const std::string& out);

}  // namespace usol
