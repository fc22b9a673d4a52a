#pragma once
// A config struct that was made with one preset, under another: for sweeps over presets.

#include <string>
#include <vector>

#include "usol/pipeline/settings.h"

namespace usol {

/// Gives `config` the preset `name`, and with it all values in which the two presets differ, but for the keys `given`.
/// Throws Error(kUsage) if there is no such preset.
template <class Config>
void use_preset(Config& config, const std::string& name, const std::vector<std::string>& given) {
  Config old, other;
  SettingsTable was("preset"), now("preset"), own("preset");
  old.declare(was);
  other.declare(now);
  config.declare(own);
  was.set("preset", config.preset);
  was.apply_preset();
  now.set("preset", name);
  now.apply_preset();
  own.keep(given);
  for (const auto& [key, value] : now.changes_from(was))
    if (key == "preset" || !own.given(key)) own.set(key, value);
}

}  // namespace usol
