#pragma once
// A verb's options: declared once, read from the command line, the environment, a settings file and a preset, in that
// order of precedence; printed back by --print-config and recorded in the outputs' `info`.
// CLI11 splits the command line and prints the help; it stays inside options.cc.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace usol {

/// What the value of an option changes.
enum class OptionKind {
  kSetting,  // the result: recorded in `info`, compared by --resume and merge
  kRun,      // where, how fast or how loud the work is done, never the result
};

class Options {
 public:
  /// `program` is what the user types ("usol maskcut"), `verb` its section in settings files, `summary` one line.
  Options(const std::string& program, const std::string& verb, const std::string& summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  // ---- declaring. `names` is "--tau" or "-q,--quiet"; the variable's present value is the default; it must outlive
  // this. The long name without dashes is the key in settings files, and USOL_<NAME> in the environment.
  void add(const std::string& names, std::string& value, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  void add(const std::string& names, double& value, const std::string& help, OptionKind kind = OptionKind::kSetting);
  void add(const std::string& names, std::int64_t& value, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  /// May be given several times; numbers also as 0.1,0.2.
  void add(const std::string& names, std::vector<std::string>& values, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  void add(const std::string& names, std::vector<double>& values, const std::string& help,
           OptionKind kind = OptionKind::kSetting);
  /// A switch that sets `value` to true. With names "--no-crf" it sets `value` to false, and the key is "crf".
  void flag(const std::string& names, bool& value, const std::string& help, OptionKind kind = OptionKind::kSetting);
  /// One word of `allowed`.
  void choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
              const std::string& help, OptionKind kind = OptionKind::kSetting);
  /// All arguments that belong to no option; in settings files an array under the lower-case `name`.
  void positional(const std::string& name, std::vector<std::string>& values, const std::string& help);
  /// Bounds of a number, both allowed; checked wherever it comes from.
  void at_least(const std::string& key, double minimum);
  void at_most(const std::string& key, double maximum);
  /// --preset: `presets` maps each preset's name to the options it sets, which come after all other sources.
  void preset(std::string& value, const std::map<std::string, std::map<std::string, std::string>>& presets,
              const std::string& help);
  /// Options declared after this stand under this title in the help.
  void group(const std::string& title);
  /// A paragraph at the top of the help: what the verb does and what comes out.
  void about(const std::string& text);
  /// A command at the end of the help, with a line that says what it does.
  void example(const std::string& command, const std::string& what);

  // ---- reading
  /// Reads arguments (without the program and the verb), environment, file and preset into the variables.
  /// Returns false if the help was asked for. Throws Error(kUsage) on anything wrong.
  bool parse(const std::vector<std::string>& arguments);
  /// The help text.
  std::string help() const;
  /// True if the option's value came from anywhere but its default or a preset.
  bool given(const std::string& key) const;
  /// The settings (kSetting) as JSON: {"tau": 0.15, ...}, in the order of declaration.
  nlohmann::ordered_json settings() const;
  /// Every value but the switches of the moment, as a settings file that --config reads back.
  std::string to_toml() const;

 private:
  using Target =
      std::variant<std::string*, double*, std::int64_t*, bool*, std::vector<std::string>*, std::vector<double>*>;
  enum class Source { kDefault, kPreset, kFile, kEnvironment, kFlag };
  struct Option {
    std::string key;
    Target target;
    OptionKind kind;
    std::string shown = {}, help = {}, group = {};  // "--tau NUMBER", its text and its title in the help
    std::vector<std::string> allowed = {};
    std::optional<double> minimum = {}, maximum = {};
    bool is_positional = false;
    Source source = Source::kDefault;
  };
  struct Parser;  // CLI11's

  static std::string default_text(const Option& option);
  Option& declare(const std::string& names, Target target, const std::string& help, OptionKind kind);
  Option* find(const std::string& key) const;
  Option& get(const std::string& key) const;
  static void assign(Option& option, const std::vector<std::string>& values, const std::string& where);
  void read_environment();
  void read_file(const std::string& path);
  void apply_preset();

  std::string verb_;
  std::vector<std::unique_ptr<Option>> options_;
  std::map<std::string, std::map<std::string, std::string>> presets_;
  std::string* preset_ = nullptr;
  std::string program_, summary_, about_, group_ = "Options", examples_;
  std::unique_ptr<Parser> parser_;
};

/// The keys of --config and --print-config, and of the switches that say how this one run is done.
bool is_momentary(const std::string& key);

}  // namespace usol
