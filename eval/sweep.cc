#include "usol/eval/sweep.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

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
    name += key + '=' + value;
  }
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

SweepParameter parse_sweep_parameter(const std::string& text) {
  const std::size_t equals = text.find('=');
  check(equals != std::string::npos && equals > 0, ErrorKind::kUsage,
        "a parameter: expected KEY=VALUE,VALUE,... as tau=0.1,0.15, got '{}'", text);
  SweepParameter parameter{text.substr(0, equals), {}};
  for (std::size_t start = equals + 1; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const std::string value = text.substr(start, comma - start);
    check(!value.empty(), ErrorKind::kUsage, "parameter {}: a value is missing", text);
    check(std::find(parameter.values.begin(), parameter.values.end(), value) == parameter.values.end(),
          ErrorKind::kUsage, "parameter {}: {} comes twice", text, value);
    parameter.values.push_back(value);
    start = comma + 1;
  }
  return parameter;
}

std::vector<SweepPoint> sweep_points(const std::vector<SweepParameter>& parameters, bool one_at_a_time) {
  check(!parameters.empty(), ErrorKind::kUsage, "nothing to vary: give a parameter, such as tau=0.1,0.15,0.2");
  std::size_t count = one_at_a_time ? 0 : 1;
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    for (std::size_t q = 0; q < p; ++q)
      check(parameters[p].key != parameters[q].key, ErrorKind::kUsage, "parameter {} comes twice", parameters[p].key);
    count = one_at_a_time ? count + parameters[p].values.size() : count * parameters[p].values.size();
    check(count <= 10000, ErrorKind::kUsage, "more than 10000 points");
  }
  std::vector<SweepPoint> points;
  if (one_at_a_time) {
    for (const SweepParameter& parameter : parameters) {
      for (const std::string& value : parameter.values) points.push_back({"", {{parameter.key, value}}});
    }
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      SweepPoint point;
      std::size_t rest = i;
      for (std::size_t p = parameters.size(); p-- > 0;) {
        const auto& values = parameters[p].values;
        point.settings.insert(point.settings.begin(), {parameters[p].key, values[rest % values.size()]});
        rest /= values.size();
      }
      points.push_back(std::move(point));
    }
  }
  for (SweepPoint& point : points) point.name = sweep_name(point.settings);
  return points;
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
