// usol_mini: the parts of scripts/mini-reproduction that are no verb of usol: synthetic scenes with their truth, and
// the tables and the plot of what came out.
#include <fmt/core.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "bench/mini/kinds.h"
#include "bench/mini/tables.h"
#include "tests/support/scenes.h"
#include "usol/io/atomic_file.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr const char* kUsage =
    "usage: usol_mini scenes|textures|kinds DIR SEED COUNT  writes pictures and truth.json\n"
    "       usol_mini tables DIR OUT.md OUT.svg             what scripts/mini-reproduction found\n"
    "       usol_mini closed-tables DIR OUT.md              ... with --closed\n"
    "       usol_mini kinds-table DIR OUT.md                ... with --kinds\n"
    "       usol_mini best-tau SWEEP                        the best one of a `usol sweep --param tau=...`\n"
    "       usol_mini network OUT SEED                      a small ResNet of random numbers\n"
    "       usol_mini shuffle OBJECTS OUT SEED              the same objects with their categories dealt out anew";

test::SceneKind scene_kind(const std::string& verb) {
  if (verb == "textures") return test::SceneKind::kTextures;
  return verb == "kinds" ? test::SceneKind::kKinds : test::SceneKind::kColours;
}

void run(const std::vector<std::string>& words) {
  const std::string verb = words.empty() ? "" : words[0];
  if ((verb == "scenes" || verb == "textures" || verb == "kinds") && words.size() == 4) {
    test::SceneOptions options;
    options.kind = scene_kind(verb);
    options.seed = std::stoull(words[2]);
    test::write_scenes(words[1], options, std::stoll(words[3]));
  } else if (verb == "tables" && words.size() == 4) {
    io::write_file(words[2], mini_tables(words[1]));
    io::write_file(words[3], mini_plot(words[1]));
  } else if (verb == "closed-tables" && words.size() == 3) {
    io::write_file(words[2], closed_tables(words[1]));
  } else if (verb == "kinds-table" && words.size() == 3) {
    io::write_file(words[2], kinds_table(words[1]));
  } else if (verb == "network" && words.size() == 3) {
    write_random_network(words[1], std::stoull(words[2]));
  } else if (verb == "shuffle" && words.size() == 4) {
    shuffle_categories(words[1], words[2], std::stoull(words[3]));
  } else if (verb == "best-tau" && words.size() == 2) {
    fmt::print("{}\n", best_tau(words[1]));
  } else {
    fail(ErrorKind::kUsage, kUsage);
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
