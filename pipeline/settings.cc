#include "usol/pipeline/settings.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>

#include "usol/io/json_text.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// "q,quiet" -> "-q,--quiet"; names that have their dashes stay as they are.
std::string flags_of(const std::string& names) {
  std::string flags;
  for (std::size_t start = 0; start < names.size();) {
    const std::size_t end = std::min(names.find(',', start), names.size());
    const std::string name = names.substr(start, end - start);
    if (!flags.empty()) flags += ',';
    if (!name.starts_with('-')) flags += name.size() == 1 ? "-" : "--";
    flags += name;
    start = end + 1;
  }
  return flags;
}

// "-q,--quiet" -> "quiet".
std::string key_of(const std::string& flags) { return flags.substr(flags.find("--") + 2); }

template <class Number>
Number parse_number(std::string_view text, const std::string& where) {
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

// Numbers of a list, each text one of them or several with commas between.
template <class Number>
std::vector<Number> parse_numbers(const std::vector<std::string>& texts, const std::string& where) {
  std::vector<Number> numbers;
  for (const std::string_view text : texts) {
    for (std::size_t start = 0; start <= text.size();) {
      const std::size_t end = std::min(text.find(',', start), text.size());
      numbers.push_back(parse_number<Number>(text.substr(start, end - start), where));
      start = end + 1;
    }
  }
  return numbers;
}

void check_bounds(double value, const Settings::Bounds& bounds, const std::string& where) {
  const auto& [minimum, maximum] = bounds;
  check(!minimum || value >= *minimum, ErrorKind::kUsage, "{}: expected at least {}, got {}", where,
        minimum.value_or(0), value);
  check(!maximum || value <= *maximum, ErrorKind::kUsage, "{}: expected at most {}, got {}", where, maximum.value_or(0),
        value);
}

nlohmann::ordered_json json_of(const Settings::Target& target) {
  return std::visit(Overloaded{[](const std::optional<double>* value) {
                                 return *value ? nlohmann::ordered_json(**value) : nlohmann::ordered_json();
                               },
                               [](const auto* value) -> nlohmann::ordered_json { return *value; }},
                    target);
}

}  // namespace

bool is_momentary(const std::string& key) {
  for (const char* name : {"quiet", "verbose", "config", "print-config", "dry-run", "force", "resume"}) {
    if (key == name) return true;
  }
  return false;
}

SettingsTable::Option& SettingsTable::add_option(const std::string& names, Target target, const std::string& help,
                                                 OptionKind kind) {
  const auto space = names.find(' ');
  const std::string flags = flags_of(names.substr(0, space));
  const char* word = std::visit(Overloaded{
                                    [](const std::string*) { return "TEXT"; },
                                    [](const double*) { return "NUMBER"; },
                                    [](const std::optional<double>*) { return "NUMBER"; },
                                    [](const std::int64_t*) { return "N"; },
                                    [](const bool*) { return ""; },
                                    [](const std::vector<std::string>*) { return "TEXT"; },
                                    [](const std::vector<double>*) { return "NUMBER,..."; },
                                    [](const std::vector<std::int64_t>*) { return "N,..."; },
                                },
                                target);
  options_.push_back(std::make_unique<Option>(Option{key_of(flags), flags, target, kind}));
  Option& option = *options_.back();
  option.shown = fmt::format("{} {}", flags, space == std::string::npos ? word : names.substr(space + 1));
  option.help = help;
  option.group = group_;
  option.choice = choice_;
  option.alternative = alternative_;
  option.recorded_always = recorded_always_;
  option.usual = io::json_text(json_of(target));
  return option;
}

// True if the two are, or lie within, different alternatives of one choice.
bool SettingsTable::exclude_each_other(const Option& a, const Option& b) {
  for (const Option* of_a = &a; of_a->choice != nullptr; of_a = of_a->choice)
    for (const Option* of_b = &b; of_b->choice != nullptr; of_b = of_b->choice)
      if (of_a->choice == of_b->choice && of_a->alternative != of_b->alternative) return true;
  return false;
}

// Settings that exclude each other may have one name, with one form; all others differ.
void SettingsTable::check_name(const Option& added) const {
  for (const auto& option : options_) {
    if (option.get() == &added || option->key != added.key) continue;
    check(exclude_each_other(*option, added) && option->target.index() == added.target.index() &&
              option->flags == added.flags,
          "settings: '{}' is declared twice", added.key);
  }
}

Settings::Bounds& SettingsTable::declare(const std::string& names, Target target, const std::string& help,
                                         OptionKind kind) {
  Option& option = add_option(names, target, help, kind);
  if (std::holds_alternative<bool*>(target)) {
    option.shown = option.flags;
    option.sets_false = option.key.starts_with("no-");
    if (option.sets_false) option.key.erase(0, 3);
  }
  check_name(option);
  return option.bounds;
}

void SettingsTable::declare_choice(const std::string& names, std::string& value,
                                   const std::vector<std::string>& allowed, const std::string& help, OptionKind kind) {
  Option& option = add_option(names, &value, help, kind);
  option.allowed = allowed;
  option.shown = fmt::format("{} {}", option.flags, fmt::join(allowed, "|"));
  check_name(option);
}

void SettingsTable::declare_alternative(const std::string& key, const std::string& alternative,
                                        const std::function<void(Settings&)>& declare, Recorded recorded) {
  const Option& choice = last(key);
  check(std::find(choice.allowed.begin(), choice.allowed.end(), alternative) != choice.allowed.end(),
        "settings: '{}' is no alternative of '{}'", alternative, key);
  const auto outside = std::tuple(choice_, alternative_, recorded_always_, group_);
  choice_ = &choice;
  alternative_ = alternative;
  recorded_always_ = recorded == Recorded::kAlways;
  group_ = fmt::format("{} {}", key, alternative);  // "With method found, task saliency"
  for (const Option* outer = &choice; outer->choice != nullptr; outer = outer->choice)
    group_ = fmt::format("{} {}, {}", outer->choice->key, outer->alternative, group_);
  group_ = "With " + group_;
  declare(*this);
  std::tie(choice_, alternative_, recorded_always_, group_) = outside;
}

void SettingsTable::declare_positional(const std::string& name, std::vector<std::string>& values,
                                       const std::string& help) {
  Option& option = add_option(name, &values, help, OptionKind::kRun);
  option.key = name;
  std::transform(option.key.begin(), option.key.end(), option.key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  option.is_positional = true;
  option.shown = name + "...";
  check_name(option);
}

// Of that name, the one that was declared last.
SettingsTable::Option& SettingsTable::last(const std::string& key) const {
  const auto found =
      std::find_if(options_.rbegin(), options_.rend(), [&](const auto& option) { return option->key == key; });
  check(found != options_.rend(), "settings: no setting '{}' is declared", key);
  return **found;
}

void SettingsTable::declare_preset(std::string& value,
                                   const std::map<std::string, std::map<std::string, std::string>>& presets,
                                   const std::string& help) {
  std::vector<std::string> names;
  for (const auto& entry : presets) names.push_back(entry.first);
  declare_choice("preset", value, names, help, OptionKind::kSetting);
  preset_ = &value;
  presets_ = presets;
}

bool SettingsTable::is_used(const Option& option) {
  return option.choice == nullptr ||
         (*std::get<std::string*>(option.choice->target) == option.alternative && is_used(*option.choice));
}

bool SettingsTable::is_list(const Option& option) {
  return std::visit(
      Overloaded{[](const std::vector<std::string>*) { return true; }, [](const std::vector<double>*) { return true; },
                 [](const std::vector<std::int64_t>*) { return true; }, [](const auto*) { return false; }},
      option.target);
}

SettingsTable::Option* SettingsTable::find(const std::string& key) const {
  Option* found = nullptr;
  for (const auto& option : options_) {
    if (option->key != key) continue;
    if (is_used(*option)) return option.get();
    if (found == nullptr) found = option.get();
  }
  return found;
}

bool SettingsTable::uses(const std::string& key) const {
  const Option* option = find(key);
  return option != nullptr && is_used(*option);
}

SettingsTable::Option& SettingsTable::get(const std::string& key) const {
  Option* option = find(key);
  check(option != nullptr, "settings: no setting '{}' is declared", key);
  return *option;
}

void SettingsTable::assign(Option& option, const std::vector<std::string>& values, const std::string& where) {
  check(is_list(option) || values.size() == 1, ErrorKind::kUsage, "{}: expected one value, got {}", where,
        values.size());
  if (!option.allowed.empty()) {
    check(std::find(option.allowed.begin(), option.allowed.end(), values[0]) != option.allowed.end(), ErrorKind::kUsage,
          "{}: expected one of {}, got '{}'", where, fmt::join(option.allowed, ", "), values[0]);
  }
  const auto in_bounds = [&](auto value) {
    check_bounds(static_cast<double>(value), option.bounds, where);
    return value;
  };
  const auto list_in_bounds = [&](auto numbers) {
    for (const auto number : numbers) in_bounds(number);
    return numbers;
  };
  std::visit(Overloaded{
                 [&](std::string* target) { *target = values[0]; },
                 [&](double* target) { *target = in_bounds(parse_number<double>(values[0], where)); },
                 [&](std::optional<double>* target) { *target = in_bounds(parse_number<double>(values[0], where)); },
                 [&](std::int64_t* target) { *target = in_bounds(parse_number<std::int64_t>(values[0], where)); },
                 [&](bool* target) {
                   const bool yes = values[0] == "true" || values[0] == "1";
                   check(yes || values[0] == "false" || values[0] == "0", ErrorKind::kUsage,
                         "{}: expected true or false, got '{}'", where, values[0]);
                   *target = yes;
                 },
                 [&](std::vector<std::string>* target) { *target = values; },
                 [&](std::vector<double>* target) { *target = list_in_bounds(parse_numbers<double>(values, where)); },
                 [&](std::vector<std::int64_t>* target) {
                   *target = list_in_bounds(parse_numbers<std::int64_t>(values, where));
                 },
             },
             option.target);
}

std::string SettingsTable::value_of(const Option& option, const std::vector<std::string>& values,
                                    const std::string& where) {
  Option trial = option;
  return std::visit(
      [&](auto* target) {
        auto copy = *target;
        trial.target = &copy;
        assign(trial, values, where);
        return io::json_text(json_of(trial.target));
      },
      option.target);
}

// Of any setting of that name.
bool SettingsTable::is_default(const Offer& offer, const std::string& key) const {
  return std::any_of(options_.begin(), options_.end(), [&](const auto& option) {
    return option->key == key && value_of(*option, offer.values, offer.where) == option->usual;
  });
}

// A choice within an alternative (arch, of a detector's backbones) takes the words of the choice around it, too: arch =
// "solov2" is detector = "solov2". Null unless that is so here.
const SettingsTable::Option* SettingsTable::outer_choice(const std::string& key, const std::string& word) const {
  const auto has_word = [&](const Option& option) {
    return std::find(option.allowed.begin(), option.allowed.end(), word) != option.allowed.end();
  };
  const Option* outer = nullptr;
  for (const auto& option : options_) {
    if (option->key != key) continue;
    if (option->choice == nullptr || option->allowed.empty() || has_word(*option)) return nullptr;
    if (has_word(*option->choice)) outer = option->choice;
  }
  return outer;
}

void SettingsTable::offer(const std::string& key, std::vector<std::string> values, Source source,
                          const std::string& where) {
  const Option* outer = values.size() == 1 ? outer_choice(key, values.front()) : nullptr;
  std::vector<Offer>& offers = offers_[outer != nullptr ? outer->key : key];
  const auto weaker =
      std::find_if(offers.begin(), offers.end(), [&](const Offer& other) { return other.source <= source; });
  offers.insert(weaker, {std::move(values), source, where});
}

std::optional<std::string> SettingsTable::offered(const std::string& key) const {
  const auto found = offers_.find(key);
  if (found == offers_.end() || found->second.front().values.empty()) return std::nullopt;
  return found->second.front().values.front();
}

void SettingsTable::settle() {
  for (const auto& option : options_) {
    const auto found = offers_.find(option->key);
    if (found == offers_.end() || !is_used(*option)) continue;
    bool assigned = false;
    for (const Offer& offer : found->second) {
      if (assigned) {
        value_of(*option, offer.values, offer.where);  // an overridden value is still checked
        continue;
      }
      assign(*option, offer.values, offer.where);
      option->source = offer.source;
      assigned = true;
    }
  }
  for (const auto& option : options_) {
    const auto found = offers_.find(option->key);
    if (found == offers_.end() || uses(option->key)) continue;
    const Offer& offer = found->second.front();
    if (offer.source == Source::kFile && is_default(offer, option->key)) continue;
    const Option* choice = option->choice;
    for (const auto& other : options_)  // of several of the name, the one that is nearest to being used
      if (other->key == option->key && is_used(*other->choice)) choice = other->choice;
    while (!is_used(*choice)) choice = choice->choice;
    fail(ErrorKind::kUsage,
         fmt::format("{} means nothing to {} {}", offer.where, choice->key, *std::get<std::string*>(choice->target)));
  }
}

void SettingsTable::read_file(const std::string& path, const std::function<bool(const std::string&)>& is_section) {
  offer_file(path, is_section);
  settle();
}

void SettingsTable::offer_file(const std::string& path, const std::function<bool(const std::string&)>& is_section) {
  const std::vector<io::TomlEntry> entries = io::read_toml(path);
  for (const bool in_section : {false, true}) {  // the section wins over what stands before any
    for (const io::TomlEntry& entry : entries) {
      std::string key = entry.key;
      if (!entry.section.empty()) {
        const auto dot = entry.section.find('.');
        const std::string head = entry.section.substr(0, dot);
        if (head != section_) {
          check(!is_section || is_section(head), ErrorKind::kUsage,
                "{}:{}: unknown section [{}]: expected the name of a verb", path, entry.line, entry.section);
          continue;
        }
        if (dot != std::string::npos) key = entry.section.substr(dot + 1) + "." + key;
      }
      if (entry.section.empty() == in_section) continue;
      check(find(key) != nullptr && key != "config" && key != "print-config", ErrorKind::kUsage,
            "{}:{}: unknown key '{}' (the help of usol {} lists what there is)", path, entry.line, key, section_);
      offer(key, entry.values, Source::kFile, fmt::format("{}:{}: {}", path, entry.line, key));
    }
  }
}

void SettingsTable::apply_preset() {
  if (preset_ == nullptr) return;
  for (const auto& [key, value] : presets_.at(*preset_)) {
    Option* option = find(key);
    check(option != nullptr, "settings: preset {} sets '{}', which is no setting", *preset_, key);
    if (option->source != Source::kDefault || !is_used(*option)) continue;
    assign(*option, {value}, fmt::format("preset {}: {}", *preset_, key));
    option->source = Source::kPreset;
  }
}

void SettingsTable::set(const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [key, value] : values) {
    get(key);  // that there is one
    offers_[key] = {{{value}, Source::kFlag, key}};
  }
  settle();
}

bool SettingsTable::changes_results(const std::string& key) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const auto& option) { return option->key == key && option->kind != OptionKind::kRun; });
}

std::vector<std::string> SettingsTable::given() const {
  std::vector<std::string> keys;
  for (const auto& option : options_)
    if (option->source > Source::kPreset && is_used(*option)) keys.push_back(option->key);
  return keys;
}

void SettingsTable::keep(const std::vector<std::string>& keys) {
  for (const std::string& key : keys)
    if (Option* option = find(key)) option->source = std::max(option->source, Source::kFile);
}

std::string SettingsTable::text_of(const Option& option) {
  return std::visit(
      Overloaded{
          [](const std::string* value) { return *value; },
          [](const bool*) { return std::string(); },
          [](const std::optional<double>* number) { return *number ? fmt::format("{}", **number) : std::string(); },
          [](const std::vector<std::string>* values) { return fmt::format("{}", fmt::join(*values, ", ")); },
          [](const std::vector<double>* values) { return fmt::format("{}", fmt::join(*values, ",")); },
          [](const std::vector<std::int64_t>* values) { return fmt::format("{}", fmt::join(*values, ",")); },
          [](const auto* number) { return fmt::format("{}", *number); },
      },
      option.target);
}

std::string SettingsTable::text(const std::string& key) const {
  const Option& option = get(key);
  if (const auto* on = std::get_if<bool*>(&option.target)) return **on ? "true" : "false";
  return text_of(option);
}

nlohmann::ordered_json SettingsTable::settings() const {
  auto json = nlohmann::ordered_json::object();
  for (const auto& option : options_) {
    const bool recorded =
        is_used(*option) || (option->recorded_always && is_used(*option->choice) && !uses(option->key));
    if (option->kind == OptionKind::kRun || !recorded) continue;
    auto value = json_of(option->target);
    if (option->kind == OptionKind::kSetting || io::json_text(value) != option->usual)
      json[option->key] = std::move(value);
  }
  return json;
}

std::string SettingsTable::settings_text() const { return io::json_text(settings()); }

std::vector<std::pair<std::string, std::string>> SettingsTable::changes_from(const SettingsTable& other) const {
  std::vector<std::pair<std::string, std::string>> changes;
  for (const auto& option : options_) {
    if (!is_used(*option)) continue;
    if (const std::string now = text(option->key); now != other.text(option->key))
      changes.emplace_back(option->key, now);
  }
  return changes;
}

std::string SettingsTable::to_toml() const {
  std::string out = fmt::format("# usol {} settings\n[{}]\n", section_, section_);
  for (const auto& option : options_) {
    if (is_momentary(option->key) || !is_used(*option)) continue;
    if (!option->allowed.empty() && std::get<std::string*>(option->target)->empty()) continue;  // not chosen
    if (const auto* open = std::get_if<std::optional<double>*>(&option->target); open && !**open) continue;
    const std::string text = std::visit(
        Overloaded{
            [](const std::string* value) { return io::toml_quote(*value); },
            [](const bool* value) { return std::string(*value ? "true" : "false"); },
            [](const std::optional<double>* number) { return fmt::format("{}", number->value()); },
            [](const std::vector<std::string>* values) {
              std::vector<std::string> quoted;
              for (const auto& value : *values) quoted.push_back(io::toml_quote(value));
              return fmt::format("[{}]", fmt::join(quoted, ", "));
            },
            [](const std::vector<double>* values) { return fmt::format("[{}]", fmt::join(*values, ", ")); },
            [](const std::vector<std::int64_t>* values) { return fmt::format("[{}]", fmt::join(*values, ", ")); },
            [](const auto* number) { return fmt::format("{}", *number); },
        },
        option->target);
    out += fmt::format("{} = {}\n", option->key, text);
  }
  return out;
}

std::string SettingsTable::to_markdown() const {
  std::string out, group;
  for (const auto& option : options_) {
    if (is_momentary(option->key) || option->is_positional) continue;
    if (option->group != group) {
      group = option->group;
      out += fmt::format("\n**{}**\n\n| key | default | allowed | |\n|---|---|---|---|\n", group);
    }
    const bool* on = nullptr;
    if (const auto* target = std::get_if<bool*>(&option->target)) on = *target;
    std::string allowed = fmt::format("{}", fmt::join(option->allowed, ", "));
    if (option->bounds.minimum && option->bounds.maximum)
      allowed = fmt::format("{} to {}", *option->bounds.minimum, *option->bounds.maximum);
    else if (option->bounds.minimum)
      allowed = fmt::format("from {}", *option->bounds.minimum);
    else if (option->bounds.maximum)
      allowed = fmt::format("to {}", *option->bounds.maximum);
    std::string help = option->sets_false ? "`false`: " + option->help : option->help;
    if (option->key == "preset") {
      for (const auto& [preset, values] : presets_) {
        std::vector<std::string> made;
        for (const auto& [key, value] : values) made.push_back(fmt::format("`{} = {}`", key, value));
        if (!made.empty()) help += fmt::format(". {} makes {}", preset, fmt::join(made, ", "));
      }
    }
    for (std::size_t at = 0; (at = help.find_first_of("|<", at)) != std::string::npos; at += 2)
      help.insert(at, 1, '\\');
    out += fmt::format("| `{}` | {} | {} | {} |\n", option->key, on ? (*on ? "true" : "false") : text_of(*option),
                       allowed, help);
  }
  return out;
}

void RunSettings::declare(Settings& settings) {
  settings.add("threads N", threads, "CPU threads", OptionKind::kRun);
  settings.add("seed N", seed, "Seed of everything random");
  settings.flag("deterministic", deterministic, "The same bits in every run");
  settings.add("device NAME", device, "Where it is done", OptionKind::kRun);
  settings.add("precision NAME", precision, "Arithmetic of matrix products and convolutions");
}

}  // namespace usol
