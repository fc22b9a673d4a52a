#pragma once
// Verbs by name: what main does with the command line, and how settings of other verbs are read.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "usol/cli/options.h"

namespace usol::cli {

/// What `usol NAME ARGUMENT...` does: reads the options, prints the help or the settings if they are asked for, else
/// runs the verb, together with the processes that were started together with this one (train::join_ranks). All of them
/// return the same exit status. Throws Error.
int run_verb(const std::string& name, const std::vector<std::string>& arguments);
/// The settings that these arguments, and the files they name, result in (Options::settings). Throws Error(kUsage).
nlohmann::ordered_json verb_settings(const std::string& name, const std::vector<std::string>& arguments);
/// All values that they result in, as a settings file for --config.
std::string verb_settings_file(const std::string& name, const std::vector<std::string>& arguments);

/// Tables of a verb's own settings, and of those that all verbs have, in Markdown (Settings::to_markdown).
std::string verb_settings_table(const std::string& name);
std::string common_settings_table();

/// Reads settings that `declare` declares as `usol VERB --config FILE --preset PRESET` would: from its section of the
/// file ("": none) and the environment; the preset ("": none) wins over the file's. Returns the keys that were given.
std::vector<std::string> read_as_verb(const std::string& verb, const std::string& file, const std::string& preset,
                                      const std::function<void(Settings&)>& declare);

}  // namespace usol::cli
