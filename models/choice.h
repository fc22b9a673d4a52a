#pragma once
// One of the registered kinds, each with settings of its own: how the config of a training holds a detector, or a
// detector's a backbone.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "usol/models/registry.h"
#include "usol/tensor/check.h"
#include "usol/tensor/settings.h"

namespace usol {

/// `Kind` has a member `settings`, a function that makes a std::unique_ptr of the kind's settings with their defaults
/// (a struct with declare(Settings&) and clone()), or null for a kind that has none. A value: copies have settings of
/// their own.
template <class Kind>
class Choice {
 public:
  using Own = typename decltype(std::declval<Kind>().settings())::element_type;

  std::string name;  // of the chosen kind

  explicit Choice(const std::string& usual) : name(usual), usual_(usual) {
    for (const Kind& kind : Registry<Kind>::all())
      if (kind.settings != nullptr) settings_[kind.name] = kind.settings();
  }
  Choice(const Choice& other) : name(other.name), usual_(other.usual_) {
    for (const auto& [kind, settings] : other.settings_) settings_[kind] = settings->clone();
  }
  Choice(Choice&&) noexcept = default;
  Choice& operator=(Choice other) noexcept {
    std::swap(name, other.name);
    std::swap(usual_, other.usual_);
    std::swap(settings_, other.settings_);
    return *this;
  }
  ~Choice() = default;

  /// Declares the choice itself, under `names`: the usual kind first, then the others by name.
  void declare(Settings& settings, const std::string& names, const std::string& help,
               OptionKind kind = OptionKind::kSetting) {
    std::vector<std::string> known{usual_};
    for (const auto& one : settings_)
      if (one.first != usual_) known.push_back(one.first);
    // What is there when a setting is declared counts as its default, and a program may have chosen already.
    std::string chosen = std::exchange(name, usual_);
    settings.choice(names, name, known, help, kind);
    name = std::move(chosen);
  }
  /// Declares every kind's settings as those of an alternative of the choice `key`; those of `always` are recorded
  /// whatever is chosen.
  void declare_settings(Settings& settings, const std::string& key, const std::set<std::string>& always = {}) {
    for (const auto& [kind, own] : settings_)
      settings.when(
          key, kind, [&its = *own](Settings& s) { its.declare(s); },
          always.contains(kind) ? Settings::Recorded::kAlways : Settings::Recorded::kChosen);
  }

  /// The chosen kind's settings. Throws Error(kUsage) if there is no such kind.
  const Own& chosen() const {
    const auto found = settings_.find(name);
    check(found != settings_.end(), ErrorKind::kUsage, "no kind is registered under the name '{}'", name);
    return *found->second;
  }
  /// The settings of the kind whose they are, to be changed in a program. Throws Error if no kind has such settings.
  template <class S>
  S& as() {
    for (const auto& [kind, own] : settings_)
      if (S* settings = dynamic_cast<S*>(own.get())) return *settings;
    fail(ErrorKind::kInvalidArgument, "no registered kind has settings of this type");
  }

 private:
  std::string usual_;
  std::map<std::string, std::unique_ptr<Own>> settings_;  // by the kind's name
};

}  // namespace usol
