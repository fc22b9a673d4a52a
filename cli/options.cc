#include "usol/cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>

#include "usol/cli/verb.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

std::string environment_name(const std::string& key) {
  std::string name = "USOL_";
  for (const char c : key) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

constexpr std::size_t kHelpColumn = 30, kHelpWidth = 100;

// Breaks at spaces; lines after the first are indented, line breaks of the text are kept.
std::string wrap(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = text.find_first_of(" \n", start);
    if (end == std::string::npos) end = text.size();
    if (column > indent && column + 1 + (end - start) > kHelpWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out.append(text, start, end - start);
    column += end - start;
    for (start = end; start < text.size() && (text[start] == ' ' || text[start] == '\n'); ++start) {
      if (text[start] != '\n') continue;
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
  }
  return out;
}

}  // namespace

void Options::example(const std::string& command, const std::string& what) {
  examples_ += fmt::format("\n  # {}\n  {}\n", what, command);
}

bool Options::parse(const std::vector<std::string>& arguments) {
  if (!read_arguments(arguments)) return false;
  read_environment();
  if (const auto path = offered("config"); path && !path->empty()) {
    try {
      offer_file(*path, is_verb);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUsage) throw;
      fail(ErrorKind::kUsage, fmt::format("--config: {}", error.what()));
    }
  }
  settle();
  apply_preset();
  return true;
}

// False if the help was asked for.
bool Options::read_arguments(const std::vector<std::string>& arguments) {
  CLI::App app;
  std::map<std::string, const CLI::Option*> by_key;
  for (const auto& option : options_) {
    const CLI::Option*& known = by_key[option->key];
    if (known != nullptr) continue;  // alternatives may share a name
    CLI::Option* parsed = nullptr;
    if (std::holds_alternative<bool*>(option->target)) {
      parsed = app.add_flag(option->sets_false ? fmt::format("--{},!{}", option->key, option->flags) : option->flags);
      parsed->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    } else {
      parsed = app.add_option(option->is_positional ? option->key : option->flags);
      if (is_list(*option))
        parsed->type_size(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
      if (option->is_positional) parsed->expected(-1)->allow_extra_args(true);
    }
    known = parsed;
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 wants them reversed
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::kUsage, error.what());
  }
  for (const auto& [key, parsed] : by_key)
    if (parsed->count() > 0) offer(key, parsed->results(), Source::kFlag, find(key)->is_positional ? key : "--" + key);
  return true;
}

void Options::read_environment() {
  for (const auto& option : options_) {
    if (option->is_positional || offered(option->key)) continue;
    const std::string name = environment_name(option->key);
    if (const char* value = std::getenv(name.c_str())) offer(option->key, {value}, Source::kEnvironment, name);
  }
}

std::string Options::help() const {
  std::string positionals;
  std::vector<std::string> groups;
  for (const auto& option : options_) {
    if (option->is_positional) positionals += " " + option->shown;
    if (std::find(groups.begin(), groups.end(), option->group) == groups.end()) groups.push_back(option->group);
  }
  std::string text = fmt::format("{}: {}\n\nUsage: {}{} [OPTION...]\n", program_, summary_, program_, positionals);
  if (!about_.empty()) text += "\n" + wrap(about_, 0) + "\n";
  for (const auto& group : groups) {
    text += "\n" + group + ":\n";
    for (const auto& option : options_) {
      if (option->group != group) continue;
      const std::string value = text_of(*option);
      const std::string help = value.empty() ? option->help : fmt::format("{} (default {})", option->help, value);
      const std::string left = "  " + option->shown;
      text += left.size() < kHelpColumn ? left + std::string(kHelpColumn - left.size(), ' ')
                                        : left + "\n" + std::string(kHelpColumn, ' ');
      text += wrap(help, kHelpColumn) + "\n";
    }
  }
  if (!examples_.empty()) text += "\nExamples:" + examples_;
  return text;
}

}  // namespace usol::cli
