// libFuzzer's entry; built by -DUSOL_FUZZ=ON (Clang only) and run by scripts/fuzz.
// `--list` prints the targets. USOL_FUZZ_TARGET names the target; USOL_FUZZ_SEEDS a folder to write its known inputs
// into at the start.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>

#include "tests/support/fuzz_targets.h"
#include "usol/io/atomic_file.h"
#include "usol/tensor/error.h"

namespace {

const usol::test::FuzzTarget& target() {
  const char* name = std::getenv("USOL_FUZZ_TARGET");
  if (name == nullptr) usol::fail(usol::ErrorKind::kUsage, "set USOL_FUZZ_TARGET");
  static const auto& chosen = usol::test::fuzz_target(name);
  return chosen;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc == 2 && std::string((*argv)[1]) == "--list") {
    for (const auto& listed : usol::test::fuzz_targets()) std::puts(std::string(listed.name).c_str());
    std::exit(0);
  }
  if (const char* folder = std::getenv("USOL_FUZZ_SEEDS")) {
    int number = 0;
    for (const auto& seed : target().seeds()) {
      usol::io::write_file(std::filesystem::path(folder) / ("seed-" + std::to_string(number++)),
                           std::as_bytes(std::span(seed)));
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target().run({data, size});
  return 0;
}
