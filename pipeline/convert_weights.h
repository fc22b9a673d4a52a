#pragma once
// Weights from one file format to another, and to Detectron2's names.

#include <string>

#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct WeightsConversion {
  std::string input;            // a checkpoint: a file, an index of several, or a hub's folder (io/checkpoint.h)
  std::string entry = {};       // CheckpointOptions::entry; empty: what load_checkpoint() finds
  std::string names = "plain";  // "plain": the original names, as models here take them. "file": as they are.
                                // "detectron2": a torchvision ResNet becomes a detector's backbone

  /// Declares all but the input.
  void declare(Settings& settings);
};

/// Writes the tensors to `out`: safetensors, or a .pth that PyTorch opens, with an entry "model", as the name's end
/// says. Numbers are copied as they are, i8, i16 and u16 as i32, u32 as i64. Says what they are to run.log, and returns
/// kSuccess. An `out` that exists is an error (kExists) unless run.existing is another than kRefuse. With run.dry_run
/// nothing is written. Throws Error(kUsage) for another ending, a file that is missing and an output that is an input,
/// and what load_checkpoint(), resnet_to_detectron2() and the writers throw.
int convert_weights(const Run& run, const WeightsConversion& conversion, const std::string& out);

}  // namespace usol
