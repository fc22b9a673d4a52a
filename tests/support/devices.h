#pragma once
// Which devices a test runs on.

#include <vector>

#include "usol/tensor/device.h"

namespace usol::test {

/// True when this binary is linked with CUDA and a GPU answers.
bool cuda_available();
/// True when this binary is linked with CUDA, GPU or not.
bool cuda_linked();

}  // namespace usol::test
