#pragma once
// Gradients against central differences, in f64: the proof every vjp is held to.

#include <functional>
#include <string>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

struct GradcheckResult {
  double max_error = 0;  // max |analytic - numeric| / max(1, max |numeric|) over all inputs
  std::string worst;     // where, for messages
};

/// Compares the gradients of sum(function(inputs) * w), w fixed pseudo-random weights, with central differences of step
/// `epsilon`. Only f64 inputs not listed in `skip` are differentiated.
GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                          const std::vector<Tensor>& inputs, double epsilon = 1e-5, const std::vector<int>& skip = {});

}  // namespace usol
