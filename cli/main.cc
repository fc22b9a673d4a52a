// usol: the binary.
#include <fmt/core.h>

#include "cli/version.h"

int main() {
  fmt::print(stderr, "usol {}\n", usol::version());
  return 2;
}
