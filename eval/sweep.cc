#include "usol/eval/sweep.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "usol/io/utf8.h"
#include "usol/tensor/check.h"

using Json = nlohmann::ordered_json;

namespace usol::eval {
namespace {

// Columns in the order in which the points bring them up: settings, then numbers.
struct Table {
  std::vector<std::string> settings;
  std::vector<std::pair<std::string, std::string>> metrics;  // group ("box") and name

  explicit Table(const Json& points) {
    const auto add = [](auto& list, const auto& item) {
      if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
    };
    for (const Json& point : points) {
      for (const auto& [key, value] : point.at("settings").items()) add(settings, key);
      if (!point.contains("metrics")) continue;
      for (const auto& [group, values] : point.at("metrics").items()) {
        for (const auto& [name, value] : values.items()) add(metrics, std::pair(group, name));
      }
    }
  }
};

std::string setting(const Json& point, const std::string& key) {
  return point.at("settings").contains(key) ? point.at("settings").at(key).get<std::string>() : "";
}

// A number of the point's metrics; -1 if it has none.
double metric(const Json& point, const std::pair<std::string, std::string>& column) {
  if (!point.contains("metrics") || !point.at("metrics").contains(column.first)) return -1;
  const Json& group = point.at("metrics").at(column.first);
  return group.contains(column.second) ? group.at(column.second).get<double>() : -1;
}

using Choices = std::vector<std::pair<std::string, std::string>>;

std::string title(const SweepParameter& parameter) {
  return parameter.alternative.empty() ? parameter.key : parameter.alternative + ":" + parameter.key;
}

bool has_key(const Choices& settings, const std::string& key) {
  return std::any_of(settings.begin(), settings.end(), [&](const auto& setting) { return setting.first == key; });
}

// The parameters of a sweep, and how alternatives lead from one to the other.
class Combinations {
 public:
  explicit Combinations(const std::vector<SweepParameter>& parameters) : parameters_(parameters) {
    check(!parameters.empty(), ErrorKind::kUsage, "nothing to vary: give a parameter, such as tau=0.1,0.15,0.2");
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      for (std::size_t q = 0; q < p; ++q)
        check(title(parameters[p]) != title(parameters[q]), ErrorKind::kUsage, "parameter {} comes twice",
              title(parameters[p]));
      choosers_.push_back(chooser(p));
    }
  }

  /// Adds what the parameters from `next` on make of these settings.
  void add_all(std::size_t next, const Choices& settings) {
    if (next == parameters_.size()) return add(settings);
    const std::string& alternative = parameters_[next].alternative;
    if (alternative.empty() || std::find(settings.begin(), settings.end(),
                                         std::pair(parameters_[choosers_[next]].key, alternative)) != settings.end())
      add_values(next, settings, [&](const Choices& with_value) { add_all(next + 1, with_value); });
    else
      add_all(next + 1, settings);
  }

  void add_one_at_a_time() {
    for (std::size_t p = 0; p < parameters_.size(); ++p)
      add_values(p, chosen_for(p), [&](const Choices& settings) { add(settings); });
  }

  std::vector<SweepPoint> take() { return std::move(points_); }

 private:
  // Which parameter before it has its alternative as a value.
  std::size_t chooser(std::size_t p) const {
    const SweepParameter& parameter = parameters_[p];
    std::vector<std::size_t> found;
    for (std::size_t q = 0; q < p; ++q) {
      const std::vector<std::string>& values = parameters_[q].values;
      if (std::find(values.begin(), values.end(), parameter.alternative) != values.end()) found.push_back(q);
    }
    check(parameter.alternative.empty() || found.size() == 1, ErrorKind::kUsage,
          "parameter {}: {} is a value of {} before it, expected of one", title(parameter), parameter.alternative,
          found.empty() ? "no parameter" : "several parameters");
    return found.empty() ? p : found.front();
  }

  Choices chosen_for(std::size_t p) const {
    if (parameters_[p].alternative.empty()) return {};
    Choices settings = chosen_for(choosers_[p]);
    settings.emplace_back(parameters_[choosers_[p]].key, parameters_[p].alternative);
    return settings;
  }

  template <class Add>
  void add_values(std::size_t p, const Choices& settings, const Add& add) const {
    const std::string& key = parameters_[p].key;
    check(!has_key(settings, key), ErrorKind::kUsage, "parameter {} comes twice", key);
    for (const std::string& value : parameters_[p].values) {
      Choices with_value = settings;
      with_value.emplace_back(key, value);
      add(with_value);
    }
  }

  void add(const Choices& settings) {
    check(points_.size() < kMostPoints, ErrorKind::kUsage, "more than {} points", kMostPoints);
    points_.push_back({sweep_name(settings), settings});
  }

  static constexpr std::size_t kMostPoints = 10000;
  const std::vector<SweepParameter>& parameters_;
  std::vector<std::size_t> choosers_;  // by parameter; itself where it has no alternative
  std::vector<SweepPoint> points_;
};

// In a point's name commas are between settings.
std::string value_in_name(std::string value) {
  std::replace(value.begin(), value.end(), ',', '+');
  return value;
}

// What stands between the brackets of a list, without spaces: the form that settings take.
std::string list_of(const std::string& inside, const std::string& parameter) {
  std::string list;
  for (const char c : inside)
    if (c != ' ') list += c;
  check(list.find('[') == std::string::npos, ErrorKind::kUsage, "parameter {}: a list within a list", parameter);
  check(!list.empty(), ErrorKind::kUsage, "parameter {}: an empty list", parameter);
  check(list.front() != ',' && list.back() != ',' && list.find(",,") == std::string::npos, ErrorKind::kUsage,
        "parameter {}: a value is missing in [{}]", parameter, inside);
  return list;
}

// The value that begins at `start`, which is moved behind it: a list in brackets, or what is before the next comma.
std::string take_value(const std::string& text, std::size_t& start) {
  if (text.compare(start, 1, "[") != 0) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const std::string value = text.substr(start, comma - start);
    check(value.find('[') != std::string::npos || value.find(']') == std::string::npos, ErrorKind::kUsage,
          "parameter {}: a ']' without its '['", text);
    start = comma;
    return value;
  }
  const std::size_t close = text.find(']', start);
  check(close != std::string::npos, ErrorKind::kUsage, "parameter {}: a '[' without its ']'", text);
  const std::string value = list_of(text.substr(start + 1, close - start - 1), text);
  start = close + 1;
  check(start == text.size() || text[start] == ',', ErrorKind::kUsage,
        "parameter {}: expected a comma or the end behind ']', got '{}'", text, text.substr(start));
  return value;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string sweep_name(const std::vector<std::pair<std::string, std::string>>& settings) {
  std::string name;
  for (const auto& [key, value] : settings) {
    if (!name.empty()) name += ',';
    name += key + '=' + value_in_name(value);
  }
  std::replace(name.begin(), name.end(), '/', '_');
  return io::printable(name);  // it stands in JSON, too, and a path need not be UTF-8
}

SweepParameter parse_sweep_parameter(const std::string& text) {
  const std::size_t equals = text.find('=');
  check(equals != std::string::npos && equals > 0, ErrorKind::kUsage,
        "a parameter: expected KEY=VALUE,VALUE,... as tau=0.1,0.15, got '{}'", text);
  const std::size_t colon = text.rfind(':', equals);
  SweepParameter parameter;
  if (colon != std::string::npos) parameter.alternative = text.substr(0, colon);
  parameter.key = text.substr(colon + 1, equals - colon - 1);  // npos + 1 is 0
  check(!parameter.key.empty() && colon != 0, ErrorKind::kUsage,
        "a parameter: expected KEY=VALUES or ALTERNATIVE:KEY=VALUES, got '{}'", text);
  for (std::size_t start = equals + 1; start <= text.size(); ++start) {
    const std::string value = take_value(text, start);
    check(!value.empty(), ErrorKind::kUsage, "parameter {}: a value is missing", text);
    check(std::none_of(parameter.values.begin(), parameter.values.end(),
                       [&](const std::string& other) { return value_in_name(other) == value_in_name(value); }),
          ErrorKind::kUsage, "parameter {}: {} comes twice", text, value);
    parameter.values.push_back(value);
  }
  return parameter;
}

std::vector<SweepPoint> sweep_points(const std::vector<SweepParameter>& parameters, bool one_at_a_time) {
  Combinations combinations(parameters);
  if (one_at_a_time)
    combinations.add_one_at_a_time();
  else
    combinations.add_all(0, {});
  return combinations.take();
}

std::string sweep_csv(const Json& sweep) {
  const Json& points = sweep.at("points");
  const Table table(points);
  std::string out = "point";
  for (const std::string& key : table.settings) out += fmt::format(",{}", csv_cell(key));
  out += ",images,objects";
  for (const auto& [group, name] : table.metrics) out += fmt::format(",{}_{}", group, name);
  out += '\n';
  for (const Json& point : points) {
    out += csv_cell(point.at("name").get<std::string>());
    for (const std::string& key : table.settings) out += fmt::format(",{}", csv_cell(setting(point, key)));
    out += fmt::format(",{},{}", point.at("images").get<std::int64_t>(), point.at("objects").get<std::int64_t>());
    for (const auto& column : table.metrics) {
      const double value = metric(point, column);
      out += value < 0 ? "," : fmt::format(",{}", value);
    }
    out += '\n';
  }
  return out;
}

std::string sweep_markdown(const Json& sweep) {
  const Json& points = sweep.at("points");
  const Table table(points);
  std::string head = "|", rule = "|";
  const auto add = [&](const std::string& title, bool figure) {
    head += fmt::format(" {} |", title);
    rule += figure ? "---:|" : "---|";
  };
  for (const std::string& key : table.settings) add(key, false);
  add("objects", true);
  // The figures of the paper's tables.
  std::vector<std::pair<std::string, std::string>> shown;
  for (const auto& column : table.metrics) {
    for (const char* name : {"AP", "AP50", "AP75", "AR100"}) {
      if (column.second == name) shown.push_back(column);
    }
  }
  for (const auto& [group, name] : shown) add(group + " " + name, true);
  std::string out = head + "\n" + rule + "\n";
  for (const Json& point : points) {
    out += '|';
    for (const std::string& key : table.settings) out += fmt::format(" {} |", setting(point, key));
    out += fmt::format(" {} |", point.at("objects").get<std::int64_t>());
    for (const auto& column : shown) {
      const double value = metric(point, column);
      out += value < 0 ? " - |" : fmt::format(" {:.1f} |", 100 * value);
    }
    out += '\n';
  }
  return out;
}

}  // namespace usol::eval
