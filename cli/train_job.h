#pragma once
// One training from its files to model_final.safetensors, with checkpoints to go on from: what `usol train` does, and
// each round of self-training.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "usol/cli/train_settings.h"
#include "usol/cli/verb.h"

namespace usol {

/// The name of the trained detector in the folder of a training.
inline constexpr const char* kFinalModel = "model_final.safetensors";

struct TrainFiles {
  std::string annotations, image_root;  // what is learned: a COCO file with masks, and the folder of its pictures
  std::string weights;                  // what is started from; "": random numbers
  std::string out;                      // the folder of all results
};

/// Trains, together with common.ranks if there are any, and returns the exit status: 0, or 128 + n after signal n, with
/// a checkpoint for --resume. `info` is make_info()'s; the files' hashes are added to it, it is written into
/// checkpoints, and --resume refuses another one. A training that is in `out` already is an error unless --force (made
/// anew) or
/// --resume (continued; nothing is done if it was finished). With --dry-run everything is read and nothing written. All
/// ranks read; the first one alone writes and speaks. A signal to any of them stops all after the same step. Throws
/// Error(kUsage) for files that are missing or settings that do not fit, and what reading pictures throws.
int run_training(const Common& common, const TrainSettings& settings, const TrainFiles& files,
                 nlohmann::ordered_json info);

}  // namespace usol
