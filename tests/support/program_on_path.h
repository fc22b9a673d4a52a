#pragma once
// Programs that a test needs and a machine may lack: browsers, interpreters, mpirun.

#include <string>
#include <vector>

namespace usol::test {

/// The first of these programs that is found, in the first folder of PATH that has one; empty if none is.
std::string program_on_path(const std::vector<std::string>& names);

}  // namespace usol::test
