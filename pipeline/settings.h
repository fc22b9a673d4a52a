#pragma once
// One declaration a setting: its name, its default (the variable's value), bounds and help. What follows from it:
// reading TOML files, presets, the JSON of an output's `info`, settings files to read again, the table of the docs,
// and, in cli/options.h, flags, environment variables and help.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "usol/io/toml.h"

namespace usol {

/// What the value of a setting changes.
enum class OptionKind {
  kSetting,  // the result: recorded in `info`, compared when a run goes on
  kRun,      // where, how fast or how loud the work is done, never the result
};

class Settings {
 protected:
  struct Option;

 public:
  /// A number, or a list of numbers, that was just declared, to say its bounds: settings.add(...).between(0, 1). Both
  /// bounds are allowed, for each number of a list; they are checked wherever the value comes from.
  class Declared {
   public:
    explicit Declared(Option& option) : option_(option) {}
    Declared at_least(double minimum) const;
    Declared at_most(double maximum) const;
    Declared between(double minimum, double maximum) const { return at_least(minimum).at_most(maximum); }

   private:
    Option& option_;
  };

  /// `section`: whose keys of a settings file these are ("train" reads [train], and what stands before any section).
  explicit Settings(std::string section) : section_(std::move(section)) {}
  virtual ~Settings() = default;
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

  // ---- declaring. `names` is "tau", or "q,quiet" with a letter for the command line, and a word for the value where
  // one helps ("size PX"). The long name is the key in settings files. (Dashes before names, as flags have them, are
  // left out.) The variable's present value is the default; it must outlive this.
  void add(const std::string& names, std::string& value, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  Declared add(const std::string& names, double& value, const std::string& help,
               OptionKind kind = OptionKind::kSetting);
  Declared add(const std::string& names, std::int64_t& value, const std::string& help,
               OptionKind kind = OptionKind::kSetting);
  void add(const std::string& names, std::vector<std::string>& values, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  /// Lists of numbers may also be one text, "0.1,0.2".
  Declared add(const std::string& names, std::vector<double>& values, const std::string& help,
               OptionKind kind = OptionKind::kSetting);
  Declared add(const std::string& names, std::vector<std::int64_t>& values, const std::string& help,
               OptionKind kind = OptionKind::kSetting);
  /// A switch that sets `value` to true. With names "no-crf" it sets `value` to false, and the key is "crf".
  void flag(const std::string& names, bool& value, const std::string& help, OptionKind kind = OptionKind::kSetting);
  /// One word of `allowed`.
  void choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
              const std::string& help, OptionKind kind = OptionKind::kSetting);
  /// A list without a flag; in settings files an array under the lower-case `name`.
  void positional(const std::string& name, std::vector<std::string>& values, const std::string& help);
  /// The setting "preset": `presets` maps each preset's name to the settings it makes, which come after all other
  /// sources.
  void preset(std::string& value, const std::map<std::string, std::map<std::string, std::string>>& presets,
              const std::string& help);
  /// What is declared after this stands under this title in help and docs.
  void group(const std::string& title) { group_ = title; }

  // ---- reading
  /// Keys of the file's section, and those before any section. `is_section` tells the names of sections that are
  /// others' to read; an unknown one is an error (without `is_section` all others are skipped). A value that a stronger
  /// source gave stays. Throws Error(kUsage) naming file, line and key for unknown keys and values that do not fit,
  /// Error(kIo) if the file cannot be read.
  void read_file(const std::string& path, const std::function<bool(const std::string&)>& is_section = {});
  /// Sets what the chosen preset says and nothing else has set.
  void apply_preset();
  /// One value from text, in the place of all that was read. Throws Error(kUsage) naming the key.
  void set(const std::string& key, const std::string& value);
  /// True if the value came from anywhere but its default or a preset.
  bool given(const std::string& key) const { return get(key).source > Source::kPreset; }
  /// The keys of all such values.
  std::vector<std::string> given() const;
  /// Takes the values of these keys as given, so that a preset leaves them alone. Other keys are skipped.
  void keep(const std::vector<std::string>& keys);

  // ---- writing
  /// The value as text: "0.15", "true", "a, b".
  std::string text(const std::string& key) const;
  /// The settings (kSetting) as JSON: {"tau": 0.15, ...}, in the order of declaration.
  nlohmann::ordered_json settings() const;
  std::string settings_text() const;
  /// Key and text of each value that another one has in `other`, which declares the same.
  std::vector<std::pair<std::string, std::string>> changes_from(const Settings& other) const;
  /// Every value but the switches of the moment (is_momentary), as a settings file that read_file() takes.
  std::string to_toml() const;
  /// A table for the docs, in Markdown: key, default, bounds and help, by group.
  std::string to_markdown() const;

 protected:
  using Target = std::variant<std::string*, double*, std::int64_t*, bool*, std::vector<std::string>*,
                              std::vector<double>*, std::vector<std::int64_t>*>;
  enum class Source { kDefault, kPreset, kFile, kEnvironment, kFlag };
  struct Option {
    std::string key;
    std::string flags;  // the names with dashes, as a command line has them
    Target target;
    OptionKind kind;
    std::string shown = {}, help = {}, group = {};  // name and value, text and title in the help
    std::vector<std::string> allowed = {};
    std::optional<double> minimum = {}, maximum = {};
    bool is_positional = false;
    Source source = Source::kDefault;
  };

  static bool is_list(const Option& option);
  Option* find(const std::string& key) const;
  Option& get(const std::string& key) const;
  /// The value as a person reads it; empty for switches.
  static std::string text_of(const Option& option);
  /// Reads and checks; `where` opens errors. Throws Error(kUsage).
  static void assign(Option& option, const std::vector<std::string>& values, const std::string& where);

  std::string section_;
  std::vector<std::unique_ptr<Option>> options_;

 private:
  Option& declare(const std::string& names, Target target, const std::string& help, OptionKind kind);
  void read_entry(const std::string& path, const io::TomlEntry& entry, const std::string& key);

  std::map<std::string, std::map<std::string, std::string>> presets_;
  std::string* preset_ = nullptr;
  std::string group_ = "Options";
};

/// The keys of the switches that say how this one run is done; they are in no settings file.
bool is_momentary(const std::string& key);

/// The settings (kSetting) of a config struct as the text of a JSON object.
template <class Config>
std::string settings_json(Config config, const std::string& section) {
  Settings settings(section);
  config.declare(settings);
  return settings.settings_text();
}

/// What settings files of the binary also say, and a Run in a program: it is read and left.
struct RunSettings {
  std::int64_t threads = 0, seed = 0;
  bool deterministic = false;
  std::string device = "cpu", precision = "f32";

  void declare(Settings& settings);
};

/// A config struct from a settings file: its declare(Settings&) says what there is. Throws as Settings::read_file().
template <class Config>
Config config_from_toml(const std::string& path, const std::string& section) {
  Config config;
  RunSettings run;
  Settings settings(section);
  config.declare(settings);
  run.declare(settings);
  settings.read_file(path);
  settings.apply_preset();
  return config;
}

}  // namespace usol
