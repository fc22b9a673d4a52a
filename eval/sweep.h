#pragma once
// The points of a sweep over settings, and its result as tables. `usol sweep` does the work between the two.
// Place: the paper's ablations: tau, number of masks, size (Wang et al. 2023, table 8).

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace usol::eval {

/// A setting and the values it takes, as text; a value that is a list has commas in it, "480,512".
struct SweepParameter {
  std::string key;
  std::vector<std::string> values;
  /// It varies where a parameter before it has this value, and is left as it is elsewhere; "": it varies everywhere.
  std::string alternative = {};
};

/// Reads "tau=0,0.1,0.15", with lists for values "short-sides=[480,512],[600]", or with an alternative
/// "solov2:mask-channels=64,128". Throws Error(kUsage) for anything else, brackets that do not close, an empty value or
/// one that comes twice.
SweepParameter parse_sweep_parameter(const std::string& text);

/// One choice of settings; those that are not named stay as they are.
struct SweepPoint {
  std::string name;  // "tau=0.1,short-sides=480+512"; a file name, too
  std::vector<std::pair<std::string, std::string>> settings;
};

/// "tau=0.1,short-sides=480+512" from settings, with no folder in it.
std::string sweep_name(const std::vector<std::pair<std::string, std::string>>& settings);

/// All combinations, the last parameter fastest; or `one_at_a_time`, each parameter's values with the others as they
/// are, but for what makes its alternative. Throws Error(kUsage) without parameters, for a key that a point would have
/// twice, for an alternative that is the value of no parameter before or of several, and for more than 10000 points.
std::vector<SweepPoint> sweep_points(const std::vector<SweepParameter>& parameters, bool one_at_a_time);

/// The points of sweep.json ({"points": [{"name", "settings", "images", "objects", "metrics": {"box": {"AP": ...}}}]})
/// as a table: comma-separated with fractions as they are, or Markdown with percentages.
std::string sweep_csv(const nlohmann::ordered_json& sweep);
std::string sweep_markdown(const nlohmann::ordered_json& sweep);

}  // namespace usol::eval
