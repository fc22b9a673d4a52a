#include "cli/run_verb.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "cli/signals.h"
#include "cli/verb.h"
#include "tensor/check.h"
#include "tensor/parallel.h"
#include "train/distributed.h"

namespace usol {
namespace {

VerbEntry entry_of(const std::string& name) {
  const auto all = verbs();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& entry) { return entry.name == name; });
  check(found != all.end(), "verbs: '{}' is none", name);
  return *found;
}

// A verb with its options, ready to read arguments.
struct Prepared {
  std::unique_ptr<Verb> verb;
  Common common;
  Options options;

  explicit Prepared(const VerbEntry& entry)
      : verb(entry.make()), options("usol " + entry.name, entry.name, entry.summary) {
    verb->declare(options);
    common.declare(options);
  }
};

// Several processes of one command would each do the whole work, into the same files. Training shares it out itself.
void check_alone(const std::string& name, const std::vector<std::string>& arguments) {
  const int ranks = train::launched_ranks();
  const bool sharded = std::any_of(arguments.begin(), arguments.end(),
                                   [](const std::string& word) { return word.starts_with("--shard"); });
  check(ranks == 1 || name == "train" || sharded, ErrorKind::kUsage,
        "{} processes of usol {} were started together, and each would do the whole work: start one, or give each its "
        "part with --shard K/N where the verb has it; usol train alone shares its work among processes",
        ranks, name);
}

}  // namespace

int run_verb(const std::string& name, const std::vector<std::string>& arguments) {
  Prepared prepared(entry_of(name));
  Options& options = prepared.options;
  const Common& common = prepared.common;
  if (!options.parse(arguments)) {
    fmt::print("{}", options.help());
    return kSuccess;
  }
  if (common.print_config) {
    fmt::print("{}", options.to_toml());
    return kSuccess;
  }
  check_alone(name, arguments);
  set_thread_count(static_cast<int>(common.threads));
  install_signal_handlers();
  return prepared.verb->run(common, options);
}

nlohmann::ordered_json verb_settings(const std::string& name, const std::vector<std::string>& arguments) {
  Prepared prepared(entry_of(name));
  prepared.options.parse(arguments);
  return prepared.options.settings();
}

}  // namespace usol
