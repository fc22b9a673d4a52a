#pragma once
// One pre-training from pictures to a backbone's weights, with checkpoints to go on from: what `usol pretrain` does.

#include <string>

#include "usol/pipeline/inputs.h"
#include "usol/pipeline/pretrain_config.h"
#include "usol/pipeline/run.h"

namespace usol {

/// The teacher's backbone under the names of DINO's files, in the folder of a pre-training: checked as
/// train::read_checked() does, and the same for torch.load().
inline constexpr const char *kFinalBackbone = "model_final.safetensors", *kFinalBackbonePth = "model_final.pth";

struct PretrainFiles {
  InputOptions inputs;
  std::string weights;     // of a ViT to start from; "": random numbers
  std::string entry = {};  // of the weights, as CheckpointOptions::entry; "": what is found
  std::string out;         // the folder of all results

  void declare(Settings& settings);
};

/// Pre-trains, together with run.ranks if there are any, and returns a status (pipeline/run.h). What becomes of a
/// training that is in `out` already, how it is stopped and gone on with, and what is done about pictures that cannot
/// be read is as run_training() says (pipeline/train_job.h). Headers are not looked at before the first step. Throws
/// Error(kUsage) for files that are missing and settings that do not fit together.
int run_pretraining(const Run& run, const PretrainConfig& settings, const PretrainFiles& files);

}  // namespace usol
