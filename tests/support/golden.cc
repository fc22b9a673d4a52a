#include "tests/support/golden.h"

#include <cstdlib>

#include "usol/io/safetensors.h"

namespace usol::test {

std::string source_path(const std::string& name) {
  const char* moved = std::getenv("USOL_SOURCE_DIR");  // for a test program that runs on another machine
  return std::string(moved ? moved : USOL_SOURCE_DIR) + "/" + name;
}
std::string golden_path(const std::string& name) { return source_path("tests/golden/" + name); }
std::map<std::string, Tensor> load_golden(const std::string& name) { return io::load_safetensors(golden_path(name)); }

}  // namespace usol::test
