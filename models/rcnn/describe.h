#pragma once
// What the names and shapes of a Detectron2 detector tell, of an incomplete one too.

#include <optional>

#include "usol/models/describe.h"
#include "usol/nn/param_store.h"

namespace usol::rcnn {

/// Architecture and facts, without lists; nothing unless the tensors are a detector's.
std::optional<Description> describe(const StateDict& tensors);

}  // namespace usol::rcnn
