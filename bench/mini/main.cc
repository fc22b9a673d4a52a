// usol_mini: the parts of scripts/mini-reproduction that are no verb of usol: synthetic scenes with their truth, and
// the tables and the plot of what came out.
#include <fmt/core.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "bench/mini/tables.h"
#include "tests/support/scenes.h"
#include "usol/io/atomic_file.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr const char* kUsage =
    "usage: usol_mini scenes DIR SEED COUNT        writes pictures and truth.json\n"
    "       usol_mini tables DIR OUT.md OUT.svg    what scripts/mini-reproduction found";

void run(const std::vector<std::string>& words) {
  check(words.size() == 4 && (words[0] == "scenes" || words[0] == "tables"), ErrorKind::kUsage, "{}", kUsage);
  if (words[0] == "scenes") {
    test::SceneOptions options;
    options.seed = std::stoull(words[2]);
    test::write_scenes(words[1], options, std::stoll(words[3]));
  } else {
    io::write_file(words[2], mini_tables(words[1]));
    io::write_file(words[3], mini_plot(words[1]));
  }
}

}  // namespace
}  // namespace usol

int main(int argc, char** argv) {
  try {
    usol::run(std::vector<std::string>(argv + 1, argv + argc));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "usol_mini: {}\n", error.what());
    return 1;
  }
}
