#include "usol/autograd/grad_mode.h"

#include "usol/tensor/recording.h"

namespace usol {

bool grad_enabled() { return recording().enabled; }

GradMode::GradMode(bool enabled) : previous_(recording().enabled) { recording().enabled = enabled; }
GradMode::~GradMode() { recording().enabled = previous_; }

}  // namespace usol
