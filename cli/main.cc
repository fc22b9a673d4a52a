// usol: the binary. All of it is in cli/program.cc, so that tests can run it without starting a process.
#include <malloc.h>

#include <algorithm>
#include <string>
#include <vector>

#include "usol/cli/program.h"

namespace {

// Pictures need the same large blocks again and again. Kept by the process, they do not come as fresh pages each time.
void keep_freed_blocks() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 128 << 20);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_blocks();
  return usol::cli::run_program(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
