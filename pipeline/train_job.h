#pragma once
// One training from its files to model_final.safetensors, with checkpoints to go on from: what `usol train` does, and
// each round of self-training.

#include <filesystem>
#include <string>

#include "usol/pipeline/run.h"
#include "usol/pipeline/train_config.h"

namespace usol {

/// The name of the trained detector in the folder of a training.
inline constexpr const char* kFinalModel = "model_final.safetensors";

struct TrainFiles {
  std::string annotations, image_root;  // what is learned: a COCO file with masks, and the folder of its pictures
  std::string weights;                  // what is started from; "": random numbers
  std::string out;                      // the folder of all results
  std::string entry = {};               // of the weights, as CheckpointOptions::entry; "": what is found

  void declare(Settings& settings);
};

/// Trains, together with run.ranks if there are any, and returns a status (pipeline/run.h). A training that is in `out`
/// already is an error (kExists), made anew, or gone on with, as run.existing says: nothing is done if it was finished,
/// damaged files are named and made good as far as older ones are there, and other settings than its are an error
/// (kOtherSettings). With run.dry_run everything is read and checked, and nothing written. All ranks read; the first
/// one alone writes and speaks. A stop asked of any of them ends all after the same step, with a checkpoint. Pictures
/// that cannot be read are skipped up to settings.most_skipped, and the status is kSomeInputsFailed then. Before the
/// first step it throws Error(kUsage) for files that are missing or settings that do not fit, and Error(kFormat) for
/// annotations, sizes of pictures or a truth of the evaluation that would end it later.
int run_training(const Run& run, const TrainConfig& settings, const TrainFiles& files);

/// What run_training() checks of an evaluation before its first step, for verbs that score detectors otherwise: the
/// truth, without regard to classes, and the headers of its pictures. Throws Error.
void check_evaluation(const Run& run, const TrainConfig& settings);
/// Removes what a training has left in its folder, and nothing else. Throws Error(kUsage) naming a file that has the
/// name of such a one and was not written by usol.
void remove_training(const std::filesystem::path& folder);

}  // namespace usol
