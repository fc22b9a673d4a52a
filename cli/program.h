#pragma once
// What the binary does with its arguments: main() of cli/main.cc, and of tests that start no process.

#include <string>
#include <vector>

namespace usol::cli {

/// `usol ARGUMENT...`: finds the verb, runs it, and turns errors into a line on stderr and an exit status (cli/verb.h).
/// Throws nothing that is a std::exception.
int run_program(const std::vector<std::string>& arguments);

}  // namespace usol::cli
