#pragma once
// One training from its files to model_final.safetensors, with checkpoints to go on from: what `usol train` does, and
// each round of self-training.

#include <filesystem>
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
/// --resume (continued; nothing is done if it was finished, and damaged files are named and made good as far as older
/// ones are there). With --dry-run everything is read and checked, and nothing written. All ranks read; the first one
/// alone writes and speaks. A signal to any of them stops all after the same step. Pictures that cannot be read are
/// skipped up to settings.most_skipped, and the status is kSomeInputsFailed then. Before the first step it throws
/// Error(kUsage) for files that are missing or settings that do not fit, and Error(kFormat) for annotations, sizes of
/// pictures or a truth of the evaluation that would end it later.
int run_training(const Common& common, const TrainSettings& settings, const TrainFiles& files,
                 nlohmann::ordered_json info);

/// What run_training() checks of an evaluation before its first step, for verbs that score detectors otherwise: the
/// truth, without regard to classes, and the headers of its pictures. Throws Error.
void check_evaluation(const Common& common, const TrainSettings& settings);
/// Removes what a training has left in its folder, and nothing else. Throws Error(kUsage) naming a file that has the
/// name of such a one and was not written by usol.
void remove_training(const std::filesystem::path& folder);

}  // namespace usol
