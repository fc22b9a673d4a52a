#pragma once
// The whole method as one function: masks (MaskCut's, unless some are given) -> a detector, trained with DropLoss ->
// rounds of self-training, each of which predicts on the training pictures, merges what was found with the masks of
// before, and trains on from the last weights. Every stage is a function of this room and has a folder of its own.
// Source: Wang et al. 2023 (CutLER), section 3.4.

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "usol/eval/metrics.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/self_train_config.h"

namespace usol {

/// A stage of the loop, as planned.
struct SelfTrainStage {
  std::string name;                                          // and its folder: "round1/train"
  std::string verb;                                          // of the binary that does the same: "train"
  std::filesystem::path output;                              // what later stages read
  std::string settings_file;                                 // that its settings were read from; "": none
  std::vector<std::pair<std::string, std::string>> decided;  // keys and values that the loop has set, in their order
  std::string settings_json;                                 // what its output says of its making
  bool goes_on = false;  // after an interruption; the others are short and made anew
};

/// A detector of the loop.
struct SelfTrainDetector {
  std::string name;                                  // "base", "round1", ...
  std::filesystem::path masks, model;                // what it learned from, and its weights
  std::filesystem::path predictions, metrics;        // of its evaluation; empty without one
  std::map<std::string, eval::Metrics> scores = {};  // "box", "mask": the metrics as fractions, if it was evaluated
};

struct SelfTrainResult {
  int status = kSuccess;                     // as pipeline/run.h
  std::vector<SelfTrainStage> stages;        // all of them, done or not
  std::vector<SelfTrainDetector> detectors;  // the first one, and each round's, done or not; with scores once all are
                                             // done, in the process that leads
};

/// Runs the loop, together with run.ranks if there are any. `out`/manifest.json says which stages are done, with the
/// settings of each and the SHA-256 of its output. A folder with one is an error (kExists), begun anew or gone on with,
/// as run.existing says; with more rounds than before, rounds are added. Other settings than those of the stages that
/// are done are an error (kOtherSettings), an output that was changed since is one (kFormat), a manifest of another
/// version of usol, too (kOtherVersion). Settings of all stages, annotations, pictures and the truth of the evaluation
/// are checked before the first stage; with run.dry_run that is all. Throws what the stages throw, with their names.
SelfTrainResult self_train(const SelfTrainConfig& config, const Run& run);

}  // namespace usol
