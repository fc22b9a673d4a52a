#pragma once
// How often a long training writes what it keeps: settings that `usol train` and `usol pretrain` share.

#include <cstdint>

#include "usol/pipeline/settings.h"

namespace usol {

struct TrainingOutput {
  std::int64_t checkpoint_every = 5000, keep = 2, log_every = 20;

  /// Declares them, beneath a title of the verb's.
  void declare(Settings& settings) {
    settings.add("checkpoint-every N", checkpoint_every, "Steps between checkpoints", OptionKind::kRun).at_least(1);
    settings.add("keep N", keep, "Checkpoints that stay", OptionKind::kRun).at_least(1);
    settings.add("log-every N", log_every, "Steps per line of metrics.json", OptionKind::kRun).at_least(1);
  }
};

}  // namespace usol
