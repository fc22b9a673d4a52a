#pragma once
// Golden files: small arrays made by tests/golden/*.py with the reference implementations, kept as safetensors.

#include <map>
#include <string>

#include "usol/tensor/tensor.h"

namespace usol::test {

/// Path of a file under tests/golden/.
std::string golden_path(const std::string& name);
/// Path of a file in the source tree.
std::string source_path(const std::string& name);
/// All tensors of tests/golden/<name> (a .safetensors file).
std::map<std::string, Tensor> load_golden(const std::string& name);

}  // namespace usol::test
