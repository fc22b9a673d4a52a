#pragma once
// One declaration a setting: its name, its default (the variable's value), bounds and help. Option structs of all rooms
// declare their settings to this interface, methods and detectors that register themselves among them, so it lies where
// every room sees it. What is made of declarations is pipeline/settings.h's (TOML files, presets, the JSON of an
// output's `info`, the tables of the docs) and cli/options.h's (flags, environment variables, help).

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace usol {

/// What the value of a setting changes.
enum class OptionKind {
  kSetting,  // the result: recorded in `info`, compared when a run goes on
  kLater,    // the same, of one that came later: its default is not recorded, so that records are as they were before
  kRun,      // where, how fast or how loud the work is done, never the result
};

class Settings {
 public:
  /// Where a setting's value goes.
  using Target = std::variant<std::string*, double*, std::int64_t*, bool*, std::vector<std::string>*,
                              std::vector<double>*, std::vector<std::int64_t>*, std::optional<double>*>;
  /// When the settings of an alternative are recorded: where it is chosen, or always.
  enum class Recorded { kChosen, kAlways };

  Settings() = default;
  virtual ~Settings() = default;
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

  /// What a number, or each number of a list, must be at least and at most.
  struct Bounds {
    std::optional<double> minimum, maximum;
  };
  /// A number, or a list of numbers, that was just declared, to say its bounds: settings.add(...).between(0, 1). Both
  /// bounds are allowed; they are checked wherever the value comes from.
  class Declared {
   public:
    explicit Declared(Bounds& bounds) : bounds_(bounds) {}
    Declared at_least(double minimum) const {
      bounds_.minimum = minimum;
      return *this;
    }
    Declared at_most(double maximum) const {
      bounds_.maximum = maximum;
      return *this;
    }
    Declared between(double minimum, double maximum) const { return at_least(minimum).at_most(maximum); }

   private:
    Bounds& bounds_;
  };

  // `names` is "tau", or "q,quiet" with a letter for the command line, and a word for the value where one helps ("size
  // PX"). The long name is the key in settings files. (Dashes before names, as flags have them, are left out.) The
  // variable's present value is the default; it must outlive this.
  void add(const std::string& names, std::string& value, const std::string& help,
           OptionKind kind = OptionKind::kSetting) {
    declare(names, &value, help, kind);
  }
  Declared add(const std::string& names, double& value, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    return Declared(declare(names, &value, help, kind));
  }
  Declared add(const std::string& names, std::int64_t& value, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    return Declared(declare(names, &value, help, kind));
  }
  /// A number that the work itself settles where none is given.
  Declared add(const std::string& names, std::optional<double>& value, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    return Declared(declare(names, &value, help, kind));
  }
  void add(const std::string& names, std::vector<std::string>& values, const std::string& help,
           OptionKind kind = OptionKind::kSetting) {
    declare(names, &values, help, kind);
  }
  /// Lists of numbers may also be one text, "0.1,0.2".
  Declared add(const std::string& names, std::vector<double>& values, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    return Declared(declare(names, &values, help, kind));
  }
  Declared add(const std::string& names, std::vector<std::int64_t>& values, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    return Declared(declare(names, &values, help, kind));
  }
  /// A switch that sets `value` to true. With names "no-crf" it sets `value` to false, and the key is "crf".
  void flag(const std::string& names, bool& value, const std::string& help, OptionKind kind = OptionKind::kSetting) {
    declare(names, &value, help, kind);
  }
  /// One word of `allowed`.
  void choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
              const std::string& help, OptionKind kind = OptionKind::kSetting) {
    declare_choice(names, value, allowed, help, kind);
  }
  /// What `declare` declares goes with the word `alternative` of the choice `key` alone. Alternatives may have settings
  /// of the same name: a value goes to the one that is chosen. Giving one that the chosen alternative has not is an
  /// error, whatever its value; a settings file may hold it if it says no more than the default.
  void when(const std::string& key, const std::string& alternative, const std::function<void(Settings&)>& declare,
            Recorded recorded = Recorded::kChosen) {
    declare_alternative(key, alternative, declare, recorded);
  }
  /// A list without a flag; in settings files an array under the lower-case `name`.
  void positional(const std::string& name, std::vector<std::string>& values, const std::string& help) {
    declare_positional(name, values, help);
  }
  /// The setting "preset": `presets` maps each preset's name to the settings it makes, which come after all other
  /// sources.
  void preset(std::string& value, const std::map<std::string, std::map<std::string, std::string>>& presets,
              const std::string& help) {
    declare_preset(value, presets, help);
  }
  /// What is declared after this stands under this title in help and docs.
  void group(const std::string& title) { begin_group(title); }

 private:
  virtual Bounds& declare(const std::string& names, Target target, const std::string& help, OptionKind kind) = 0;
  virtual void declare_choice(const std::string& names, std::string& value, const std::vector<std::string>& allowed,
                              const std::string& help, OptionKind kind) = 0;
  virtual void declare_alternative(const std::string& key, const std::string& alternative,
                                   const std::function<void(Settings&)>& declare, Recorded recorded) = 0;
  virtual void declare_positional(const std::string& name, std::vector<std::string>& values,
                                  const std::string& help) = 0;
  virtual void declare_preset(std::string& value,
                              const std::map<std::string, std::map<std::string, std::string>>& presets,
                              const std::string& help) = 0;
  virtual void begin_group(const std::string& title) = 0;
};

}  // namespace usol
