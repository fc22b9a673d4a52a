#pragma once
// How much memory a training's step takes on a CPU, said before the first one: a system without that much ends the
// process in the middle of a step, without a word.

#include <cstdint>
#include <optional>
#include <string>

#include "usol/models/detector.h"
#include "usol/nn/param_store.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/train_config.h"
#include "usol/tensor/size.h"
#include "usol/train/dataset.h"

namespace usol {

/// What goes through a detector at once in one process.
struct StepWork {
  std::string detector;     // detection::Info::name
  double parameters = 0;    // its numbers
  std::int64_t copies = 0;  // of them that are kept: weights, gradients, what the optimiser and an average have
  std::int64_t pictures = 0;
  Size padded = {};  // of each, in pixels of the network's input: at most
};

/// The work of a step with the largest pictures that the settings make of the data. `ranks`: processes that share each
/// batch.
StepWork step_work(const TrainConfig& settings, const train::Dataset& data, const Detector& model,
                   const ParamStore& parameters, std::int64_t ranks = 1);

/// Resident memory of the process at its peak in f32, in bytes, about: from what was measured for this detector.
/// Nothing for one that was not measured, or whose number of parameters is another.
std::optional<double> step_memory(const StepWork& work);

/// Warns if a step takes more than `free_bytes`, and says by what it takes less. Otherwise a rehearsal (dry_run) notes
/// both numbers. Says nothing of work that was not measured.
void say_step_memory(const Run& run, const StepWork& work, double free_bytes);

}  // namespace usol
