#pragma once
// The statistics of batch norms once more, with the final weights: a running average trails behind weights that move.
// Source: Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm"; Detectron2's PreciseBN hook.

#include <cstdint>
#include <functional>
#include <vector>

#include "usol/models/detector.h"
#include "usol/nn/param_store.h"
#include "usol/train/dataset.h"

namespace usol::train {

/// Replaces running means and variances by those of `batches` batches that `next` gives, pooled over all values.
/// Only those parts of the detector are run that have norms. `stop` is asked before each batch: once it says yes (on
/// all ranks at once), nothing is changed, and the result is false. With `ranks`, `next` gives this rank's shares of
/// the batches. Frozen norms stay as they are. Throws Error if the detector leaves another one out.
bool precise_batch_norm(const Detector& model, const ParamStore& store, std::int64_t batches,
                        const std::function<std::vector<Sample>()>& next, const std::function<bool()>& stop,
                        Communicator* ranks = nullptr);

}  // namespace usol::train
