#pragma once
// MaskCut, and detectors trained on its masks, under many settings, scored against the truth: the paper's ablations.
// Features are computed once for all settings that share them, cuts once for all numbers of masks, and masks once for
// all detectors that learn from them. eval/sweep.h lists the points and makes the tables.
// Source: Wang et al. 2023 (CutLER), table 8.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "usol/eval/metrics.h"
#include "usol/eval/sweep.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/self_train.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct SweepConfig {
  /// What varies: "tau=0.1,0.15" each. A setting of MaskCut that changes its masks, its "weights" or "from-features";
  /// or one of a training, its "seed", "precision" or "rounds": then each point is a detector.
  std::vector<std::string> parameters;
  bool one_at_a_time = false;  // each with the others as they are, instead of all combinations
  std::string out;             // the folder of all results

  // Masks.
  MaskcutJob maskcut;                      // pictures and settings, but for those that vary
  std::vector<std::string> maskcut_given;  // keys of it that a preset among the points leaves as they are
  std::string annotations;                 // the masks' truth, COCO JSON; "": they are only counted

  // Detectors.
  std::string masks;         // COCO file to learn from in the place of MaskCut's masks
  SelfTrainConfig detector;  // how each is made and scored; its preset, image_root, annotations, rounds and out follow
                             // from the above

  /// Declares all but the stages of `detector`.
  void declare(Settings& settings);
  /// A settings file: its section [sweep], and those that read_detector() takes. Throws as Settings::read_file().
  static SweepConfig from_toml(const std::string& path);
  /// True if a point is a detector. Throws Error(kUsage) for a parameter that is none.
  bool trains() const;
  /// Reads what `detector` leaves open: thresholds and detections of the section [self-train] of `file` ("": none),
  /// and its stages (SelfTrainConfig::read_stages).
  void read_detector(const std::string& file, const ReadSettings& read = read_settings);
};

/// A point and its numbers.
struct SweepScore {
  eval::SweepPoint point;
  std::size_t images = 0, objects = 0;  // of its masks, or of what its detector has found
  std::map<std::string, eval::Metrics>
      metrics;  // "box", "mask": average precision and recall, fractions; none without truth
};

struct SweepResult {
  int status = kSuccess;           // as pipeline/run.h
  std::vector<SweepScore> points;  // in the process that leads
};

/// Makes and scores all points, together with run.ranks if there are any. `out` gets a folder for each (masks.json and
/// metrics.json, or what self_train() makes) and all numbers as sweep.json, sweep.csv and sweep.md. Results that are
/// there are an error (kExists), made anew or gone on with, as run.existing says; other settings than theirs are an
/// error (kOtherSettings). Settings, truths and, where masks are given, all pictures of the training are checked before
/// the first point; with run.dry_run that is all. Throws Error(kUsage) for parameters that are none.
SweepResult sweep(const SweepConfig& config, const Run& run);

}  // namespace usol
