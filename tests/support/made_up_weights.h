#pragma once
// Files of weights whose numbers are computed, not stored, in the bundles that tests/golden/make_hub_vits.py and
// make_dinov3.py write: for each layout the names and shapes, and what the reference computes with them.

#include <string>

#include "usol/nn/param_store.h"

namespace usol::test {

/// offset + scale (u - 1/2), u a hash of the name and the element's index in [0, 1): make_hub_vits.py, value().
Tensor made_up(const std::string& name, const Shape& shape, double offset, double scale);
/// The tensors of a layout's file in a bundle, under the names that it has there.
StateDict made_up_file(const std::string& bundle, const std::string& layout);
/// What the reference computes with them.
StateDict made_up_outputs(const std::string& bundle, const std::string& layout);

}  // namespace usol::test
