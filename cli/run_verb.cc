#include "usol/cli/run_verb.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "usol/cli/options.h"
#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/ops/all_reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/openmp_wait.h"
#include "usol/tensor/parallel.h"
#include "usol/train/distributed.h"

namespace usol::cli {
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

}  // namespace

int run_verb(const std::string& name, const std::vector<std::string>& arguments) {
  Prepared prepared(entry_of(name));
  Options& options = prepared.options;
  Common& common = prepared.common;
  if (!options.parse(arguments)) {
    fmt::print("{}", options.help());
    return kSuccess;
  }
  if (common.print_config) {
    fmt::print("{}", options.to_toml());
    return kSuccess;
  }
  const std::unique_ptr<Communicator> ranks = train::join_ranks({.caught = pending_signal, .told = note_signal});
  set_thread_count(static_cast<int>(common.threads));
  let_openmp_sleep();
  install_signal_handlers(!common.quiet && (!ranks || ranks->rank() == 0));
  const Run run = common.run(name, options, ranks.get());
  Run alone = run;
  alone.ranks = nullptr;
  const int status = prepared.verb->shares_work() ? prepared.verb->run(run, options)
                                                  : run.by_leader([&] { return prepared.verb->run(alone, options); });
  if (status > 128) run.note("--resume goes on with what is kept");
  return status;
}

std::string verb_settings_table(const std::string& name) {
  const VerbEntry entry = entry_of(name);
  const std::unique_ptr<Verb> verb = entry.make();
  Options options("usol " + name, name, entry.summary);
  verb->declare(options);
  return options.to_markdown();
}

std::string common_settings_table() {
  Common common;
  Options options("usol", "usol", "");
  common.declare(options);
  return options.to_markdown();
}

std::vector<std::string> read_as_verb(const std::string& verb, const std::string& file, const std::string& preset,
                                      const std::function<void(Settings&)>& declare) {
  Options options("usol " + verb, verb, "");
  declare(options);
  Common common;  // which a settings file may have, too; this run's are in their place
  common.declare(options);
  std::vector<std::string> words;
  if (!file.empty()) words.insert(words.end(), {"--config", file});
  if (!preset.empty()) words.insert(words.end(), {"--preset", preset});
  options.parse(words);
  return options.given();
}

nlohmann::ordered_json verb_settings(const std::string& name, const std::vector<std::string>& arguments) {
  Prepared prepared(entry_of(name));
  prepared.options.parse(arguments);
  return prepared.options.settings();
}

std::string verb_settings_file(const std::string& name, const std::vector<std::string>& arguments) {
  Prepared prepared(entry_of(name));
  prepared.options.parse(arguments);
  return prepared.options.to_toml();
}

}  // namespace usol::cli
