#pragma once
// The weights that a training of a detector starts from: those of a detector, or of a backbone alone. All rules for
// them are here; those for the names of published files are in io/key_map.h.

#include <string>
#include <vector>

#include "usol/nn/param_store.h"

namespace usol::train {

struct StartReport {
  std::vector<std::string> loaded, fresh, unused;
  std::vector<std::string> mismatched;  // "name: expected [..], got [..]"; these are fresh too
};

/// Copies what `state` has into the model's parameters by name: a detector's names, or a backbone's alone (without
/// "backbone.bottom_up." or "backbone.net."; a ResNet's also under torchvision's names). Parameters of another shape,
/// such as the predictors of other classes, keep their start, as in Detectron2. `what` names the file. Throws
/// Error(kFormat) if nothing fits.
StartReport start_from(ParamStore& store, StateDict state, const std::string& what);

}  // namespace usol::train
