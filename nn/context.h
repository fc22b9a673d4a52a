#pragma once
// What a forward pass depends on besides its input: mode, randomness and fellow ranks are arguments, never globals.

#include "ops/all_reduce.h"
#include "tensor/generator.h"

namespace usol {

namespace nn {
class NormStatistics;
}  // namespace nn

struct Context {
  bool training = false;
  Generator* rng = nullptr;                  // for layers and samplers that draw; needed by them only
  Communicator* ranks = nullptr;             // for SyncBN; null: one process
  nn::NormStatistics* statistics = nullptr;  // takes what batch norms see, in place of their running statistics
};

}  // namespace usol
