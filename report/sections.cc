#include "usol/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "usol/report/chart.h"
#include "usol/report/html.h"

using Json = nlohmann::ordered_json;

namespace usol::report {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A column of figures of which the best is marked.
struct Column {
  std::string name, group;
  std::vector<double> values;  // one per row; NaN: not known
  int digits = 1;
  bool mark_best = false;
};

// Rows by name with columns of words, then columns of figures.
std::string table(const std::vector<std::string>& rows,
                  const std::vector<std::pair<std::string, std::vector<std::string>>>& words,
                  const std::vector<Column>& columns, const std::string& label, bool swatches) {
  std::string groups, heads;
  bool grouped = false;
  for (std::size_t c = 0; c < columns.size();) {
    std::size_t end = c;
    while (end < columns.size() && columns[end].group == columns[c].group) ++end;
    groups += fmt::format("<th colspan=\"{}\">{}</th>", end - c, escape_html(columns[c].group));
    grouped = grouped || !columns[c].group.empty();
    c = end;
  }
  for (const auto& [name, values] : words) heads += fmt::format("<th scope=\"col\">{}</th>", escape_html(name));
  for (const Column& column : columns) heads += fmt::format("<th scope=\"col\">{}</th>", escape_html(column.name));
  std::string out = fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead>",
                                escape_html(label));
  if (grouped) out += fmt::format("<tr class=\"groups\"><th colspan=\"{}\"></th>{}</tr>", 1 + words.size(), groups);
  out += "<tr><th></th>" + heads + "</tr></thead><tbody>";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out += fmt::format("<tr><th scope=\"row\">{}{}</th>",
                       swatches ? fmt::format("<span class=\"swatch c{}\"></span>", r % 8) : "", escape_html(rows[r]));
    for (const auto& [name, values] : words) out += fmt::format("<td>{}</td>", escape_html(values[r]));
    for (const Column& column : columns) {
      const double value = column.values[r];
      double best = kNone;
      std::size_t known = 0;
      for (const double v : column.values) {
        if (std::isnan(v)) continue;
        ++known;
        best = std::isnan(best) ? v : std::max(best, v);
      }
      const bool marked = column.mark_best && known > 1 && value == best;
      out += std::isnan(value)
                 ? "<td>-</td>"
                 : fmt::format("<td{}>{:.{}f}</td>", marked ? " class=\"best\"" : "", value, column.digits);
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div>\n";
}

// A fraction of the metrics as percentage; -1 (nothing to measure) as unknown.
double percent(double value) { return value < 0 ? kNone : 100 * value; }

double metric(const eval::Metrics& metrics, std::string_view name) {
  for (const auto& [key, value] : metrics) {
    if (key == name) return percent(value);
  }
  return kNone;
}

double metric(const Json& json, const char* group, const char* name) {
  if (!json.is_object() || !json.contains(group) || !json[group].contains(name)) return kNone;
  return json[group][name].is_number() ? percent(json[group][name].get<double>()) : kNone;
}

constexpr const char* kShownMetrics[] = {"AP", "AP50", "AP75", "AR100"};

bool any_known(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return !std::isnan(v); });
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return kNone;
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// Settings that are not the same in all runs, as columns of words.
std::vector<std::pair<std::string, std::vector<std::string>>> differing_settings(const std::vector<ReportRun>& runs,
                                                                                 std::size_t rows) {
  std::vector<std::string> keys;
  for (const ReportRun& run : runs) {
    if (!run.info.contains("settings") || !run.info["settings"].is_object()) continue;
    for (const auto& [key, value] : run.info["settings"].items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  std::vector<std::pair<std::string, std::vector<std::string>>> columns;
  for (const std::string& key : keys) {
    std::vector<std::string> values(rows, "-");
    std::set<std::string> different;
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const Json& info = runs[r].info;
      if (info.contains("settings") && info["settings"].contains(key)) values[r] = text_of(info["settings"][key]);
      different.insert(values[r]);
    }
    if (different.size() > 1 && columns.size() < 8) columns.emplace_back(key, std::move(values));
  }
  return columns;
}

double to_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : kNone;
}

// A precision-recall curve of the result: precision at threshold `t` over recall, the mean over categories.
Series recall_curve(const eval::CocoEvalResult& result, std::int64_t t) {
  Series series;
  const auto recall = eval::coco_recall_points();
  const Tensor p = result.precision.select(0, t);  // [R, K, A, M]
  const std::int64_t categories = p.size(1), last = p.size(3) - 1;
  for (std::int64_t r = 0; r < p.size(0); ++r) {
    std::vector<double> values;
    for (std::int64_t k = 0; k < categories; ++k) {
      const double value = p.select(0, r).select(0, k).select(0, 0).select(0, last).to_vector<double>()[0];
      if (value > -1) values.push_back(value);
    }
    series.x.push_back(recall[static_cast<std::size_t>(r)]);
    series.y.push_back(mean(values));
  }
  return series;
}

}  // namespace

std::string section(const std::string& id, const std::string& heading, const std::string& content) {
  if (content.empty()) return content;
  return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", id, escape_html(heading), content);
}

std::string compare_table(const std::vector<ReportRun>& runs, const std::vector<RunFigures>& figures,
                          const std::vector<RunScore>& scores, const std::vector<ReportDocument>& metrics) {
  std::vector<std::string> rows;
  for (const ReportRun& run : runs) rows.push_back(run.name);
  for (const ReportDocument& file : metrics) {
    if (std::find(rows.begin(), rows.end(), file.name) == rows.end()) rows.push_back(file.name);
  }
  if (rows.empty()) return {};
  const std::size_t n = rows.size();
  std::vector<Column> columns;
  const auto add = [&](const char* name, int digits, auto&& value) {
    Column column{name, "", std::vector<double>(n, kNone), digits};
    for (std::size_t r = 0; r < runs.size(); ++r) column.values[r] = value(figures[r]);
    if (any_known(column.values)) columns.push_back(std::move(column));
  };
  add("pictures", 0, [](const RunFigures& f) { return static_cast<double>(f.pictures); });
  add("objects", 0, [](const RunFigures& f) { return static_cast<double>(f.objects); });
  add("a picture", 2, [](const RunFigures& f) { return mean(f.objects_each); });
  add("pictures without", 0, [](const RunFigures& f) { return static_cast<double>(f.without); });
  add("mean score", 3, [](const RunFigures& f) { return mean(f.scores); });
  for (const char* type : {"mask", "box"}) {
    for (const char* name : kShownMetrics) {
      Column column{name, fmt::format("{}, %", type), std::vector<double>(n, kNone), 1, true};
      for (const ReportDocument& file : metrics) {
        const auto row = std::find(rows.begin(), rows.end(), file.name) - rows.begin();
        column.values[static_cast<std::size_t>(row)] = metric(file.json, type, name);
      }
      for (std::size_t r = 0; r < runs.size(); ++r) {
        const auto& result = type[0] == 'm' ? scores[r].mask : scores[r].box;
        if (result) column.values[r] = metric(result->metrics, name);
      }
      if (any_known(column.values)) columns.push_back(std::move(column));
    }
  }
  for (const auto& [group, name] :
       {std::pair("corloc", "CorLoc"), std::pair("saliency", "IoU"), std::pair("saliency", "max_F_beta")}) {
    Column column{name, fmt::format("{}, %", group), std::vector<double>(n, kNone), 1, true};
    for (const ReportDocument& file : metrics) {
      const auto row = std::find(rows.begin(), rows.end(), file.name) - rows.begin();
      column.values[static_cast<std::size_t>(row)] = metric(file.json, group, name);
    }
    if (any_known(column.values)) columns.push_back(std::move(column));
  }
  return table(rows, differing_settings(runs, n), columns, "runs compared", true);
}

std::string distribution_charts(const std::vector<ReportRun>& runs, const std::vector<RunFigures>& figures) {
  std::vector<std::pair<std::string, std::vector<double>>> areas, scores, counts;
  double most = 0;
  bool any = false;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    areas.emplace_back(runs[r].name, figures[r].area_shares);
    scores.emplace_back(runs[r].name, figures[r].scores);
    counts.emplace_back(runs[r].name, figures[r].objects_each);
    for (const double count : figures[r].objects_each) most = std::max(most, count);
    any = any || figures[r].objects > 0;
  }
  if (!any) return {};
  const int bins = static_cast<int>(std::min(most, 40.0)) + 1;
  const Axis count_axis = most <= 40 ? Axis{"objects in a picture", false, -0.5, most + 0.5}
                                     : Axis{"objects in a picture", false, 0.0, most};
  return "<div class=\"charts\">\n" +
         to_figure(histogram("Area of an object", {"share of the picture", true, 1e-4, 1.0}, areas, 24)) +
         to_figure(histogram("Scores", {"score", false, 0.0, 1.0}, scores, 25)) +
         to_figure(histogram("Objects in a picture", count_axis, counts, bins)) + "</div>\n";
}

std::string precision_recall_charts(const std::vector<ReportRun>& runs, const std::vector<RunScore>& scores) {
  std::string figures;
  for (const bool mask : {true, false}) {
    Chart chart{mask ? "Masks" : "Boxes", {"recall", false, 0.0, 1.0}, {"precision", false, 0.0, 1.0}, {}};
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const auto& result = mask ? scores[r].mask : scores[r].box;
      if (!result) continue;
      for (const std::int64_t t : {0, 5}) {
        Series series = recall_curve(*result, t);
        series.name = fmt::format("{}, IoU {}", runs[r].name, t == 0 ? "0.50" : "0.75");
        series.colour = static_cast<int>(r);
        series.dashed = t != 0;
        chart.series.push_back(std::move(series));
      }
    }
    if (!chart.series.empty()) figures += to_figure(chart);
  }
  return figures.empty() ? figures : "<div class=\"charts\">\n" + figures + "</div>\n";
}

std::string training_charts(const std::vector<TrainingLog>& logs) {
  std::vector<std::string> keys = {"total_loss"};
  const std::set<std::string> last = {"lr", "gradient_norm"};
  const std::set<std::string> of_time = {"time", "data_time", "eta_seconds"};
  for (const TrainingLog& log : logs) {
    for (const auto& [key, values] : log.values) {
      if (!last.contains(key) && !of_time.contains(key) && std::find(keys.begin(), keys.end(), key) == keys.end())
        keys.push_back(key);
    }
  }
  keys.insert(keys.end(), {"lr", "gradient_norm"});
  std::string figures;
  for (const std::string& key : keys) {
    Chart chart{key == "lr" ? "learning rate" : key, {"iteration"}, {""}, {}};
    for (std::size_t l = 0; l < logs.size(); ++l) {
      const auto found = logs[l].values.find(key);
      if (found == logs[l].values.end()) continue;
      Series series{logs[l].name, {}, {}, static_cast<int>(l)};
      for (const auto& [iteration, value] : found->second) {
        series.x.push_back(iteration);
        series.y.push_back(value);
      }
      chart.series.push_back(std::move(series));
    }
    if (!chart.series.empty()) figures += to_figure(chart);
  }
  return figures.empty() ? figures : "<div class=\"charts\">\n" + figures + "</div>\n";
}

std::string sweep_tables(const std::vector<ReportDocument>& sweeps) {
  std::string out;
  for (const ReportDocument& sweep : sweeps) {
    const Json points = sweep.json.value("points", Json::array());
    std::vector<std::string> names, parameters;
    for (const Json& point : points) {
      names.push_back(point.value("name", std::string("?")));
      const Json settings = point.value("settings", Json::object());
      for (const auto& [key, value] : settings.items()) {
        if (std::find(parameters.begin(), parameters.end(), key) == parameters.end()) parameters.push_back(key);
      }
    }
    if (names.empty()) continue;
    std::vector<std::pair<std::string, std::vector<std::string>>> words;
    for (const std::string& parameter : parameters) {
      std::vector<std::string> values;
      for (const Json& point : points) {
        const Json settings = point.value("settings", Json::object());
        values.push_back(settings.contains(parameter) ? text_of(settings[parameter]) : "-");
      }
      words.emplace_back(parameter, std::move(values));
    }
    std::vector<Column> columns;
    Column objects{"objects", "", {}, 0};
    for (const Json& point : points)
      objects.values.push_back(point.contains("objects") ? point["objects"].get<double>() : kNone);
    columns.push_back(objects);
    for (const char* type : {"mask", "box"}) {
      for (const char* name : kShownMetrics) {
        Column column{name, fmt::format("{}, %", type), {}, 1, true};
        for (const Json& point : points)
          column.values.push_back(metric(point.value("metrics", Json::object()), type, name));
        if (any_known(column.values)) columns.push_back(std::move(column));
      }
    }
    if (sweeps.size() > 1) out += fmt::format("<h3>{}</h3>\n", escape_html(sweep.name));
    out += table(names, words, columns, "points of the sweep", false);
    // AP50 (else the number of objects) over each numeric parameter, a curve for each choice of the others.
    const auto ap50 = std::find_if(columns.begin(), columns.end(), [](const Column& c) { return c.name == "AP50"; });
    const Column& shown = ap50 == columns.end() ? columns.front() : *ap50;
    std::string figures;
    for (std::size_t p = 0; p < words.size(); ++p) {
      std::map<std::string, std::map<double, double>> curves;
      for (std::size_t i = 0; i < names.size(); ++i) {
        const double x = to_number(words[p].second[i]);
        if (std::isnan(x)) continue;
        std::string others;
        for (std::size_t q = 0; q < words.size(); ++q) {
          if (q != p) others += fmt::format("{}{} {}", others.empty() ? "" : ", ", words[q].first, words[q].second[i]);
        }
        curves[others][x] = shown.values[i];
      }
      Chart chart{fmt::format("{} over {}",
                              shown.group.empty()
                                  ? shown.name
                                  : fmt::format("{} {}", shown.group.substr(0, shown.group.find(',')), shown.name),
                              words[p].first),
                  {words[p].first},
                  {shown.group.empty() ? shown.name : shown.name + ", %"},
                  {},
                  false,
                  true};
      for (const auto& [others, curve] : curves) {
        if (curve.size() < 2) continue;
        Series series{others, {}, {}};
        for (const auto& [x, y] : curve) {
          series.x.push_back(x);
          series.y.push_back(y);
        }
        chart.series.push_back(std::move(series));
      }
      constexpr std::size_t kMostCurves = 8;
      if (chart.series.size() > kMostCurves) {
        const auto best = [](const Series& s) { return *std::max_element(s.y.begin(), s.y.end()); };
        std::stable_sort(chart.series.begin(), chart.series.end(),
                         [&](const Series& a, const Series& b) { return best(a) > best(b); });
        chart.title += fmt::format(" ({} best of {} combinations)", kMostCurves, chart.series.size());
        chart.series.resize(kMostCurves);
      }
      for (std::size_t k = 0; k < chart.series.size(); ++k) chart.series[k].colour = static_cast<int>(k);
      if (!chart.series.empty()) figures += to_figure(chart);
    }
    if (!figures.empty()) out += "<div class=\"charts\" style=\"margin-top:1rem\">\n" + figures + "</div>\n";
  }
  return out;
}

std::string time_tables(const std::vector<StageTimes>& times, const std::vector<TrainingLog>& logs) {
  struct Row {
    std::string stage;
    double seconds;
    std::string unit;
  };
  const auto block = [](const std::string& name, const std::vector<Row>& rows, double per,
                        const std::string& per_what) {
    double total = 0;
    for (const Row& row : rows) total += row.seconds;
    std::string out = fmt::format(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"time of "
        "{0}\"><table><thead><tr><th>{0}</th><th "
        "scope=\"col\">seconds</th>{1}<th scope=\"col\">share</th><th style=\"width:45%\"></th></tr></thead><tbody>",
        escape_html(name), per > 0 ? fmt::format("<th scope=\"col\">ms {}</th>", per_what) : "");
    for (const Row& row : rows) {
      const double share = total > 0 ? 100 * row.seconds / total : 0;
      out += fmt::format(
          "<tr><th scope=\"row\">{}</th><td>{:.4g}</td>{}<td>{:.0f} %</td><td><span class=\"bar\" "
          "style=\"width:{:.1f}%\"></span></td></tr>",
          escape_html(row.stage), row.seconds, per > 0 ? fmt::format("<td>{:.4g}</td>", 1000 * row.seconds / per) : "",
          share, share);
    }
    return out + "</tbody></table></div>\n";
  };
  std::string out;
  for (const StageTimes& run : times) {
    std::vector<Row> rows;
    for (const auto& [stage, seconds] : run.seconds) rows.push_back({stage, seconds, ""});
    out += block(run.name, rows, static_cast<double>(run.images), "a picture");
  }
  for (const TrainingLog& log : logs) {
    const auto time = log.values.find("time"), data = log.values.find("data_time");
    if (time == log.values.end() || time->second.empty()) continue;
    const auto middle = [](const std::vector<std::pair<double, double>>& values) {
      std::vector<double> sorted;
      for (const auto& value : values) sorted.push_back(value.second);
      std::sort(sorted.begin(), sorted.end());
      return sorted[sorted.size() / 2];
    };
    const double step = middle(time->second),
                 waiting = data == log.values.end() || data->second.empty() ? 0 : middle(data->second);
    out += block(log.name + ", a training step (median)",
                 {{"waiting for data", waiting, ""}, {"forward, backward, update", std::max(0.0, step - waiting), ""}},
                 0, "");
  }
  return out;
}

std::string provenance_tables(const std::vector<ReportRun>& runs) {
  std::string out;
  for (const ReportRun& run : runs) {
    if (!run.info.is_object() || run.info.empty()) continue;
    std::string rows;
    const auto add = [&](const std::string& key, const Json& value) {
      rows += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"words\">{}</td></tr>", escape_html(key),
                          escape_html(text_of(value)));
    };
    for (const auto& [key, value] : run.info.items()) {
      if (value.is_object()) {
        for (const auto& [inner, leaf] : value.items()) add(key + "." + inner, leaf);
      } else if (!value.is_null()) {
        add(key, value);
      }
    }
    out += fmt::format(
        "<details><summary>{}</summary><div class=\"scroll\" "
        "tabindex=\"0\"><table><tbody>{}</tbody></table></div></details>\n",
        escape_html(run.name), rows);
  }
  return out;
}

}  // namespace usol::report
