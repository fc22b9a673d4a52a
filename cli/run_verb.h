#pragma once
// Verbs by name: what main does with the command line, and verbs that consist of others.

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "usol/cli/options.h"
#include "usol/ops/all_reduce.h"

namespace usol::cli {

/// What `usol NAME ARGUMENT...` does: reads the options, prints the help or the settings if they are asked for, else
/// runs the verb, together with `ranks`; without them it joins the processes that were started together with this one
/// (train::join_ranks). All of them return the same exit status. Throws Error.
int run_verb(const std::string& name, const std::vector<std::string>& arguments, Communicator* ranks = nullptr);
/// The settings that these arguments, and the files they name, result in (Options::settings). Throws Error(kUsage).
nlohmann::ordered_json verb_settings(const std::string& name, const std::vector<std::string>& arguments);
/// All values that they result in, as a settings file for --config.
std::string verb_settings_file(const std::string& name, const std::vector<std::string>& arguments);

/// Tables of a verb's own settings, and of those that all verbs have, in Markdown (Settings::to_markdown).
std::string verb_settings_table(const std::string& name);
std::string common_settings_table();

/// The options that every verb has, but for `but`, as words for another verb: threads, seed, device, precision, and the
/// switches that are on.
std::vector<std::string> common_words(const Options& options, const std::set<std::string>& but = {});

}  // namespace usol::cli
