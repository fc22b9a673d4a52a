// usol: the binary. All of it is in cli/program.cc, so that tests can run it without starting a process.
#include <algorithm>
#include <string>
#include <vector>

#include "usol/cli/program.h"

int main(int argc, char** argv) {
  return usol::cli::run_program(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
