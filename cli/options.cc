#include "usol/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>

#include "usol/cli/verb.h"
#include "usol/io/toml.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// "-q,--quiet" -> "quiet".
std::string long_name(const std::string& names) {
  const auto start = names.find("--");
  return start == std::string::npos ? names : names.substr(start + 2);
}

std::string environment_name(const std::string& key) {
  std::string name = "USOL_";
  for (const char c : key) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

template <class Number>
Number parse_number(const std::string& text, const std::string& where) {
  Number number{};
  const char* first = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, number);
  check(error == std::errc() && end == last, ErrorKind::kUsage, "{}: expected {}, got '{}'", where,
        std::is_integral_v<Number> ? "a whole number" : "a number", text);
  if constexpr (std::is_floating_point_v<Number>) {
    check(number - number == 0, ErrorKind::kUsage, "{}: expected a finite number, got '{}'", where, text);
  }
  return number;
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

std::string shortest(double value) { return fmt::format("{}", value); }

}  // namespace

struct Options::Parser {
  CLI::App app;
  std::map<std::string, CLI::Option*> by_key;
};

bool is_momentary(const std::string& key) {
  for (const char* name : {"quiet", "verbose", "config", "print-config", "dry-run", "force", "resume"}) {
    if (key == name) return true;
  }
  return false;
}

Options::Options(const std::string& program, const std::string& verb, const std::string& summary)
    : verb_(verb), program_(program), summary_(summary), parser_(std::make_unique<Parser>()) {}
Options::~Options() = default;

Options::Option& Options::declare(const std::string& spec, Target target, const std::string& help, OptionKind kind) {
  const auto space = spec.find(' ');
  const std::string names = spec.substr(0, space);
  const char* word = std::visit(Overloaded{
                                    [](const std::string*) { return "TEXT"; },
                                    [](const double*) { return "NUMBER"; },
                                    [](const std::int64_t*) { return "N"; },
                                    [](const bool*) { return ""; },
                                    [](const std::vector<std::string>*) { return "TEXT"; },
                                    [](const std::vector<double>*) { return "NUMBER,..."; },
                                },
                                target);
  options_.push_back(std::make_unique<Option>(Option{long_name(names), target, kind}));
  Option& option = *options_.back();
  option.shown = fmt::format("{} {}", names, space == std::string::npos ? word : spec.substr(space + 1));
  option.help = help;
  option.group = group_;
  CLI::Option* parsed = parser_->app.add_option(names);
  if (std::holds_alternative<std::vector<std::string>*>(target) ||
      std::holds_alternative<std::vector<double>*>(target)) {
    parsed->type_size(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
  }
  parser_->by_key[option.key] = parsed;
  return option;
}

void Options::add(const std::string& names, std::string& value, const std::string& help, OptionKind kind) {
  declare(names, &value, help, kind);
}
void Options::add(const std::string& names, double& value, const std::string& help, OptionKind kind) {
  declare(names, &value, help, kind);
}
void Options::add(const std::string& names, std::int64_t& value, const std::string& help, OptionKind kind) {
  declare(names, &value, help, kind);
}
void Options::add(const std::string& names, std::vector<std::string>& values, const std::string& help,
                  OptionKind kind) {
  declare(names, &values, help, kind);
}
void Options::add(const std::string& names, std::vector<double>& values, const std::string& help, OptionKind kind) {
  declare(names, &values, help, kind);
}

void Options::flag(const std::string& names, bool& value, const std::string& help, OptionKind kind) {
  const std::string name = long_name(names);
  const bool negative = name.starts_with("no-");
  const std::string key = negative ? name.substr(3) : name;
  options_.push_back(std::make_unique<Option>(Option{key, &value, kind}));
  options_.back()->shown = names;
  options_.back()->help = help;
  options_.back()->group = group_;
  const std::string spec = negative ? fmt::format("--{},!{}", key, names) : names;
  CLI::Option* parsed = parser_->app.add_flag(spec);
  parsed->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  parser_->by_key[key] = parsed;
}

void Options::choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
                     const std::string& help, OptionKind kind) {
  Option& option = declare(names, &value, help, kind);
  option.allowed = allowed;
  option.shown = fmt::format("{} {}", names, fmt::join(allowed, "|"));
}

void Options::positional(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  Option& option = declare(name, &values, help, OptionKind::kRun);
  std::transform(option.key.begin(), option.key.end(), option.key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  option.is_positional = true;
  option.shown = name + "...";
  CLI::Option* parsed = parser_->by_key[name];
  parsed->expected(-1)->allow_extra_args(true);
  parser_->by_key.erase(name);
  parser_->by_key[option.key] = parsed;
}

void Options::at_least(const std::string& key, double minimum) { get(key).minimum = minimum; }
void Options::at_most(const std::string& key, double maximum) { get(key).maximum = maximum; }

void Options::preset(std::string& value, const std::map<std::string, std::map<std::string, std::string>>& presets,
                     const std::string& help) {
  std::vector<std::string> names;
  for (const auto& entry : presets) names.push_back(entry.first);
  choice("--preset", value, names, help);
  preset_ = &value;
  presets_ = presets;
}

void Options::example(const std::string& command, const std::string& what) {
  examples_ += fmt::format("\n  # {}\n  {}\n", what, command);
}

void Options::about(const std::string& text) { about_ += (about_.empty() ? "" : "\n\n") + text; }

void Options::group(const std::string& title) { group_ = title; }

Options::Option* Options::find(const std::string& key) const {
  const auto found =
      std::find_if(options_.begin(), options_.end(), [&](const auto& option) { return option->key == key; });
  return found == options_.end() ? nullptr : found->get();
}

Options::Option& Options::get(const std::string& key) const {
  Option* option = find(key);
  check(option != nullptr, "options: no option '{}' is declared", key);
  return *option;
}

void Options::assign(Option& option, const std::vector<std::string>& values, const std::string& where) {
  const bool is_list = std::holds_alternative<std::vector<std::string>*>(option.target) ||
                       std::holds_alternative<std::vector<double>*>(option.target);
  check(is_list || values.size() == 1, ErrorKind::kUsage, "{}: expected one value, got {}", where, values.size());
  if (!option.allowed.empty()) {
    check(std::find(option.allowed.begin(), option.allowed.end(), values[0]) != option.allowed.end(), ErrorKind::kUsage,
          "{}: expected one of {}, got '{}'", where, fmt::join(option.allowed, ", "), values[0]);
  }
  const auto in_range = [&](double value) {
    check(!option.minimum || value >= *option.minimum, ErrorKind::kUsage, "{}: expected at least {}, got {}", where,
          option.minimum.value_or(0), value);
    check(!option.maximum || value <= *option.maximum, ErrorKind::kUsage, "{}: expected at most {}, got {}", where,
          option.maximum.value_or(0), value);
  };
  std::visit(Overloaded{
                 [&](std::string* target) { *target = values[0]; },
                 [&](double* target) { in_range(*target = parse_number<double>(values[0], where)); },
                 [&](std::int64_t* target) {
                   *target = parse_number<std::int64_t>(values[0], where);
                   in_range(static_cast<double>(*target));
                 },
                 [&](bool* target) {
                   const bool yes = values[0] == "true" || values[0] == "1";
                   check(yes || values[0] == "false" || values[0] == "0", ErrorKind::kUsage,
                         "{}: expected true or false, got '{}'", where, values[0]);
                   *target = yes;
                 },
                 [&](std::vector<std::string>* target) { *target = values; },
                 [&](std::vector<double>* target) {
                   target->clear();
                   for (const auto& text : values) {
                     for (const auto& part : CLI::detail::split(text, ',')) {
                       target->push_back(parse_number<double>(part, where));
                       in_range(target->back());
                     }
                   }
                 },
             },
             option.target);
}

bool Options::parse(const std::vector<std::string>& arguments) {
  try {
    parser_->app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 wants them reversed
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::kUsage, error.what());
  }
  for (const auto& option : options_) {
    const CLI::Option* parsed = parser_->by_key.at(option->key);
    if (parsed->count() == 0) continue;
    assign(*option, parsed->results(), option->is_positional ? option->key : "--" + option->key);
    option->source = Source::kFlag;
  }
  read_environment();
  if (const Option* config = find("config")) {
    const auto& path = *std::get<std::string*>(config->target);
    if (!path.empty()) read_file(path);
  }
  apply_preset();
  return true;
}

void Options::read_environment() {
  for (const auto& option : options_) {
    if (option->is_positional || option->source == Source::kFlag) continue;
    const std::string name = environment_name(option->key);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) continue;
    assign(*option, {value}, name);
    option->source = Source::kEnvironment;
  }
}

// Keys before the first section, and those of this verb's section, are this verb's. Sections of other verbs are theirs
// to check; any other section or key is an error.
void Options::read_file(const std::string& path) {
  const auto entries = [&] {
    try {
      return read_toml(path);
    } catch (const Error& error) {
      fail(ErrorKind::kUsage, fmt::format("--config: {}", error.what()));
    }
  }();
  std::map<std::string, int> set_at;  // in this file, so that [verb] wins over the top
  for (const bool in_section : {false, true}) {
    for (const auto& entry : entries) {
      std::string key = entry.key;
      if (!entry.section.empty()) {
        const auto dot = entry.section.find('.');
        const std::string head = entry.section.substr(0, dot);
        if (head != verb_) {
          check(is_verb(head), ErrorKind::kUsage, "{}:{}: unknown section [{}]: expected the name of a verb", path,
                entry.line, entry.section);
          continue;
        }
        if (dot != std::string::npos) key = entry.section.substr(dot + 1) + "." + key;
      }
      if (entry.section.empty() == in_section) continue;
      Option* option = find(key);
      check(option != nullptr && key != "config" && key != "print-config", ErrorKind::kUsage,
            "{}:{}: unknown key '{}' (usol {} --help lists what there is)", path, entry.line, key, verb_);
      const std::string where = fmt::format("{}:{}: {}", path, entry.line, key);
      if (option->source == Source::kFlag || option->source == Source::kEnvironment) {
        Option trial = *option;  // an overridden value is still checked
        std::visit(
            [&](auto* target) {
              auto copy = *target;
              trial.target = &copy;
              assign(trial, entry.values, where);
            },
            option->target);
        continue;
      }
      assign(*option, entry.values, where);
      option->source = Source::kFile;
    }
  }
}

void Options::apply_preset() {
  if (preset_ == nullptr) return;
  for (const auto& [key, value] : presets_.at(*preset_)) {
    Option* option = find(key);
    check(option != nullptr, "options: preset {} sets '{}', which is no option", *preset_, key);
    if (option->source != Source::kDefault) continue;
    assign(*option, {value}, fmt::format("preset {}: {}", *preset_, key));
    option->source = Source::kPreset;
  }
}

std::string Options::default_text(const Option& option) {
  return std::visit(
      Overloaded{
          [](const std::string* value) { return *value; },
          [](const double* value) { return shortest(*value); },
          [](const std::int64_t* value) { return std::to_string(*value); },
          [](const bool*) { return std::string(); },
          [](const std::vector<std::string>* values) { return fmt::format("{}", fmt::join(*values, ", ")); },
          [](const std::vector<double>* values) { return fmt::format("{}", fmt::join(*values, ",")); },
      },
      option.target);
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
      const std::string value = default_text(*option);
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

bool Options::given(const std::string& key) const { return get(key).source > Source::kPreset; }

nlohmann::ordered_json Options::settings() const {
  auto json = nlohmann::ordered_json::object();
  for (const auto& option : options_) {
    if (option->kind != OptionKind::kSetting) continue;
    std::visit([&](const auto* target) { json[option->key] = *target; }, option->target);
  }
  return json;
}

std::string Options::to_toml() const {
  std::string out = fmt::format("# usol {} --config THIS_FILE\n[{}]\n", verb_, verb_);
  for (const auto& option : options_) {
    if (is_momentary(option->key)) continue;
    if (!option->allowed.empty() && std::get<std::string*>(option->target)->empty()) continue;  // not chosen
    const std::string text =
        std::visit(Overloaded{
                       [](const std::string* value) { return toml_quote(*value); },
                       [](const double* value) { return shortest(*value); },
                       [](const std::int64_t* value) { return std::to_string(*value); },
                       [](const bool* value) { return std::string(*value ? "true" : "false"); },
                       [](const std::vector<std::string>* values) {
                         std::vector<std::string> quoted;
                         for (const auto& value : *values) quoted.push_back(toml_quote(value));
                         return fmt::format("[{}]", fmt::join(quoted, ", "));
                       },
                       [](const std::vector<double>* values) { return fmt::format("[{}]", fmt::join(*values, ", ")); },
                   },
                   option->target);
    out += fmt::format("{} = {}\n", option->key, text);
  }
  return out;
}

}  // namespace usol
