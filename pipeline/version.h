#pragma once
// The program's version, as written into every output's `info`, and what it was built with.

#include <string>
#include <string_view>

namespace usol {

std::string_view version();

/// "oneDNN, MPI, CUDA": the optional libraries of this binary.
std::string built_with();

}  // namespace usol
