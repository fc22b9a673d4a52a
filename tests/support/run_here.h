#pragma once
// What the binary does, in the test's own process: for tests of many small runs, most of which take less time than
// starting a process does.

#include <string>
#include <vector>

#include "tests/support/process.h"

namespace usol::test {

/// What `usol` does with these arguments, with `directory` as the working directory: the same code, and the same
/// result, as run_usol(). USOL_* variables are hidden meanwhile.
ProcessResult run_here(const std::vector<std::string>& arguments, const std::string& directory);

}  // namespace usol::test
