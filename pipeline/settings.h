#pragma once
// Settings as they are read and written: what tensor/settings.h declares becomes TOML files, presets, the JSON of an
// output's `info`, settings files to read again, the table of the docs, and, in cli/options.h, flags, environment
// variables and help.

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/toml.h"
#include "usol/tensor/settings.h"

namespace usol {

class SettingsTable : public Settings {
 public:
  /// `section`: whose keys of a settings file these are ("train" reads [train], and what stands before any section).
  explicit SettingsTable(std::string section) : section_(std::move(section)) {}

  // ---- reading
  /// Keys of the file's section, and those before any section. `is_section` tells the names of sections that are
  /// others' to read; an unknown one is an error (without `is_section` all others are skipped). A value that a stronger
  /// source gave stays. Throws Error(kUsage) naming file, line and key for unknown keys, values that do not fit and
  /// settings of an alternative that is not chosen; Error(kIo) if the file cannot be read.
  void read_file(const std::string& path, const std::function<bool(const std::string&)>& is_section = {});
  /// Sets what the chosen preset says and nothing else has set.
  void apply_preset();
  /// One value from text, in the place of all that was read. Throws Error(kUsage) naming the key.
  void set(const std::string& key, const std::string& value) { set({{key, value}}); }
  /// Several, in any order.
  void set(const std::vector<std::pair<std::string, std::string>>& values);
  /// True if the value came from anywhere but its default or a preset.
  bool given(const std::string& key) const { return get(key).source > Source::kPreset; }
  /// The keys of all such values.
  std::vector<std::string> given() const;
  /// Takes the values of these keys as given, so that a preset leaves them alone. Other keys are skipped.
  void keep(const std::vector<std::string>& keys);
  /// True if `key` is a setting, and of no alternative that is not chosen.
  bool uses(const std::string& key) const;
  /// True if `key` is a setting that changes results (kSetting, kLater), be it of an alternative that is not chosen.
  bool changes_results(const std::string& key) const;

  // ---- writing
  /// The value as text: "0.15", "true", "a, b".
  std::string text(const std::string& key) const;
  /// The settings (kSetting, kLater) as JSON: {"tau": 0.15, ...}, in the order of declaration; of alternatives those of
  /// the chosen one, unless all are to be recorded.
  nlohmann::ordered_json settings() const;
  std::string settings_text() const;
  /// Key and text of each value that another one has in `other`, which declares the same.
  std::vector<std::pair<std::string, std::string>> changes_from(const SettingsTable& other) const;
  /// Every value but the switches of the moment (is_momentary) and the settings of alternatives that are not chosen, as
  /// a settings file that read_file() takes.
  std::string to_toml() const;
  /// A table for the docs, in Markdown: key, default, bounds and help, by group.
  std::string to_markdown() const;

 protected:
  enum class Source { kDefault, kPreset, kFile, kEnvironment, kFlag };
  struct Option {
    std::string key;
    std::string flags;  // the names with dashes, as a command line has them
    Target target;
    OptionKind kind;
    std::string shown = {}, help = {}, group = {};  // name and value, text and title in the help
    std::vector<std::string> allowed = {};
    Bounds bounds = {};
    bool is_positional = false;
    bool sets_false = false;  // a switch, whose name and help are those of what it switches off
    Source source = Source::kDefault;
    std::string usual = {};          // the default, as text
    const Option* choice = nullptr;  // that it is a setting of an alternative of ...
    std::string alternative = {};    // ... this one
    bool recorded_always = false;    // also where that is not chosen
  };

  static bool is_list(const Option& option);
  /// Of several settings of one name the one in use; null if there is none of the name.
  Option* find(const std::string& key) const;
  Option& get(const std::string& key) const;
  /// The value as a person reads it; empty for switches.
  static std::string text_of(const Option& option);
  const Option* outer_choice(const std::string& key, const std::string& word) const;
  /// Notes what a source says of a setting, for settle(); `where` opens errors.
  void offer(const std::string& key, std::vector<std::string> values, Source source, const std::string& where);
  /// The text that is noted for a setting so far, from the strongest source.
  std::optional<std::string> offered(const std::string& key) const;
  /// Notes what a file says; see read_file().
  void offer_file(const std::string& path, const std::function<bool(const std::string&)>& is_section);
  /// Gives every setting in use its value, in the order of declaration, so that a choice comes before its
  /// alternatives'. Throws Error(kUsage) for values that do not fit, also those that a stronger source overrides, and
  /// for settings that are given and not in use.
  void settle();

  std::string section_;
  std::vector<std::unique_ptr<Option>> options_;

 private:
  struct Offer {
    std::vector<std::string> values;
    Source source;
    std::string where;
  };

  Bounds& declare(const std::string& names, Target target, const std::string& help, OptionKind kind) override;
  void declare_choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
                      const std::string& help, OptionKind kind) override;
  void declare_alternative(const std::string& key, const std::string& alternative,
                           const std::function<void(Settings&)>& declare, Recorded recorded) override;
  void declare_positional(const std::string& name, std::vector<std::string>& values, const std::string& help) override;
  void declare_preset(std::string& value, const std::map<std::string, std::map<std::string, std::string>>& presets,
                      const std::string& help) override;
  void begin_group(const std::string& title) override { group_ = title; }

  Option& add_option(const std::string& names, Target target, const std::string& help, OptionKind kind);
  static bool exclude_each_other(const Option& a, const Option& b);
  void check_name(const Option& added) const;
  static bool is_used(const Option& option);
  static void assign(Option& option, const std::vector<std::string>& values, const std::string& where);
  /// The value that these would give the setting, as JSON. Throws as assign().
  static std::string value_of(const Option& option, const std::vector<std::string>& values, const std::string& where);
  Option& last(const std::string& key) const;
  bool is_default(const Offer& offer, const std::string& key) const;

  std::map<std::string, std::vector<Offer>> offers_;  // by key, the strongest first
  std::map<std::string, std::map<std::string, std::string>> presets_;
  std::string* preset_ = nullptr;
  std::string group_ = "Options";
  // While the settings of an alternative are declared:
  const Option* choice_ = nullptr;
  std::string alternative_;
  bool recorded_always_ = false;
};

/// The keys of the switches that say how this one run is done; they are in no settings file.
bool is_momentary(const std::string& key);

/// The settings of a config struct as the text of a JSON object.
template <class Config>
std::string settings_json(Config config, const std::string& section) {
  SettingsTable settings(section);
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

/// A config struct from a settings file: its declare(Settings&) says what there is. Throws as
/// SettingsTable::read_file().
template <class Config>
Config config_from_toml(const std::string& path, const std::string& section) {
  Config config;
  RunSettings run;
  SettingsTable settings(section);
  config.declare(settings);
  run.declare(settings);
  settings.read_file(path);
  settings.apply_preset();
  return config;
}

}  // namespace usol
