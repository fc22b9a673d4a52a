#pragma once
// What a forward pass depends on besides its input: mode, randomness and fellow ranks are arguments, never globals.

#include <optional>

#include "usol/ops/all_reduce.h"
#include "usol/tensor/dtype.h"
#include "usol/tensor/generator.h"

namespace usol {

namespace nn {
class NormStatistics;
}  // namespace nn

struct Context {
  bool training = false;
  Generator* rng = nullptr;       // for layers and samplers that draw; needed by them only
  Communicator* ranks = nullptr;  // share the batch (SyncBN, losses); null: one process
  /// Format of a detector's maps and products; its parameters are cast on their way into them. Nothing: the model's
  /// own.
  std::optional<DType> dtype = {};
  nn::NormStatistics* statistics = nullptr;  // takes what batch norms see, in place of their running statistics
};

}  // namespace usol
