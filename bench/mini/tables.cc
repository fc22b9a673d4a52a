#include "bench/mini/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "bench/mini/rows.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::array kColumns{MetricColumn{"box", "AP50"},  MetricColumn{"box", "AP"},  MetricColumn{"box", "AR100"},
                              MetricColumn{"mask", "AP50"}, MetricColumn{"mask", "AP"}, MetricColumn{"mask", "AR100"}};
constexpr std::size_t kMaskAp50 = 3, kMaskAp = 4;

std::vector<double> metrics(const fs::path& path) { return read_metrics(path, kColumns); }

// The detector after its first training and after each round.
std::vector<Row> stage_rows(const fs::path& folder) {
  std::vector<Row> rows;
  const auto seeds = seed_folders(folder);
  for (int round = 0; fs::exists(seeds[0] / "run" / (round == 0 ? "base" : fmt::format("round{}", round))); ++round) {
    const std::string stage = round == 0 ? "base" : fmt::format("round{}", round);
    Row row{round == 0 ? "detector" : fmt::format("round {}", round), {}};
    for (const fs::path& seed : seeds) row.seeds.push_back(metrics(seed / "run" / stage / "eval" / "metrics.json"));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> main_rows(const fs::path& folder) {
  std::vector<Row> rows{{"one cut", {metrics(folder / "cuts" / "one-metrics.json")}},
                        {"MaskCut", {metrics(folder / "cuts" / "three-metrics.json")}}};
  for (Row& row : stage_rows(folder)) rows.push_back(std::move(row));
  return rows;
}

// What a variation of the first training gave, beside the first training itself.
std::vector<Row> variations(const fs::path& folder, const std::string& prefix, const std::string& base_name) {
  std::vector<Row> rows{{base_name, {metrics(seed_folders(folder)[0] / "run" / "base" / "eval" / "metrics.json")}}};
  std::vector<std::string> names;
  if (fs::exists(folder / "variations")) {
    for (const auto& entry : fs::directory_iterator(folder / "variations")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(prefix)) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names)
    rows.push_back({name.substr(prefix.size()), {metrics(folder / "variations" / name / "metrics.json")}});
  return rows;
}

std::string table(const std::vector<Row>& rows, bool against_first) {
  std::vector<std::string> columns;
  for (const MetricColumn& c : kColumns) columns.push_back(fmt::format("{} {}", c.type, c.metric));
  const auto other = [=](std::size_t row) {
    return row == 0 ? std::nullopt : std::optional<std::size_t>(against_first ? 0 : row - 1);
  };
  return markdown(columns, rows, {against_first ? "the first row" : "the row before", {kMaskAp50, kMaskAp}, other});
}

std::string of_seeds(std::size_t seeds) {
  return seeds > 1 ? fmt::format("; mean over {} seeds, and their range in brackets", seeds) : "";
}

}  // namespace

std::string mini_tables(const fs::path& folder) {
  const std::vector<Row> rows = main_rows(folder);
  std::string text =
      fmt::format("### From one cut to the last round\n\nHeld-out scenes; class-agnostic; percent{}.\n\n{}",
                  of_seeds(rows.back().seeds.size()), table(rows, false));
  const auto droploss = variations(folder, "droploss-", "overlap 0.01");
  if (droploss.size() > 1)
    text += fmt::format(
        "\n### DropLoss: regions that overlap no mask by more than this cost nothing\n\nThe first "
        "training of the first seed.\n\n{}",
        table(droploss, true));
  const auto longer = variations(folder, "steps-", "as in the protocol");
  if (longer.size() > 1)
    text += fmt::format("\n### As many steps as all rounds, without rounds\n\nLikewise.\n\n{}", table(longer, true));
  const auto paste = variations(folder, "copy-paste-", "on");
  if (paste.size() > 1) text += fmt::format("\n### Copy-paste\n\nLikewise.\n\n{}", table(paste, true));
  return text;
}

std::string mini_plot(const fs::path& folder) {
  const std::vector<Row> rows = main_rows(folder);
  constexpr double kLeft = 50, kTop = 30, kHeight = 240, kStep = 90;
  const double width = kLeft + kStep * static_cast<double>(rows.size()) + 20;
  const auto y_of = [&](double percent) { return kTop + kHeight * (1 - percent / 100); };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, kTop + kHeight + 50);
  for (int percent = 0; percent <= 100; percent += 20)
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1:.0f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/><text x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5}</text>\n",
        kLeft, width - 10, y_of(percent), kLeft - 8, y_of(percent) + 4, percent);
  const std::array<std::pair<std::size_t, const char*>, 2> lines{{{kMaskAp50, "#1f77b4"}, {kMaskAp, "#d62728"}}};
  for (const auto& [column, colour] : lines) {
    std::string points;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const double x = kLeft + kStep * (static_cast<double>(r) + 0.5);
      points += fmt::format("{:.1f},{:.1f} ", x, y_of(mean(rows[r], column)));
      for (const auto& values : rows[r].seeds)
        svg +=
            fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x, y_of(values[column]), colour);
    }
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", points, colour);
  }
  for (std::size_t r = 0; r < rows.size(); ++r)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                       kLeft + kStep * (static_cast<double>(r) + 0.5), kTop + kHeight + 20, rows[r].name);
  svg += fmt::format(
      "<text x=\"{0}\" y=\"18\" fill=\"#1f77b4\">mask AP50</text><text x=\"{1}\" y=\"18\" fill=\"#d62728\">mask AP"
      "</text>\n</svg>\n",
      kLeft, kLeft + 90);
  return svg;
}

// ---- the closed loop

namespace {

// A kind of features: what its MaskCut gives, from one network or from that of each seed.
Row feature_row(const fs::path& folder, const std::string& name) {
  constexpr std::array kCorLoc{MetricColumn{"corloc", "CorLoc"}};
  const auto read = [&](const fs::path& from) {
    std::vector<double> values = read_metrics(from / "corloc.json", kCorLoc);
    const std::vector<double> more = metrics(from / "metrics.json");
    values.insert(values.end(), more.begin(), more.end());
    return values;
  };
  Row row{name, {}};
  if (fs::exists(folder / "corloc.json"))
    row.seeds.push_back(read(folder));
  else
    for (const fs::path& seed : seed_folders(folder)) row.seeds.push_back(read(seed));
  return row;
}

Row constant_row(const fs::path& corloc, const std::string& key, const std::string& name) {
  std::ifstream file(corloc);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  check(json.is_object() && json.contains("corloc") && json["corloc"].contains(key), ErrorKind::kFormat,
        "{}: lacks corloc.{}", corloc.string(), key);
  return {name, {{100 * json["corloc"][key].at("CorLoc").get<double>()}}};
}

}  // namespace

std::string closed_tables(const fs::path& folder) {
  const fs::path features = folder / "features";
  const std::vector<Row> rows{constant_row(features / "colour" / "corloc.json", "whole_frame", "whole frame"),
                              constant_row(features / "colour" / "corloc.json", "constant_box", "best constant box"),
                              feature_row(features / "colour", "colour features"),
                              feature_row(features / "contrast", "contrast features"),
                              feature_row(features / "random", "random weights"),
                              feature_row(features / "pretrained", "pre-trained")};
  std::vector<std::string> columns{"CorLoc"};
  for (const MetricColumn& c : kColumns) columns.push_back(fmt::format("{} {}", c.type, c.metric));
  const std::size_t random = rows.size() - 2;
  const auto other = [=](std::size_t row) { return row > random ? std::optional(random) : std::nullopt; };
  std::string text = fmt::format(
      "### MaskCut on features from nowhere else\n\nHeld-out scenes of textures; class-agnostic; percent{}.\n\n{}",
      of_seeds(rows.back().seeds.size()), markdown(columns, rows, {"random weights", {0, 1 + kMaskAp50}, other}));
  for (const auto& [name, row] : {std::pair{"colour", 2U}, {"pretrained", 5U}}) {
    std::vector<Row> stages{rows[row]};
    stages[0].name = "MaskCut";
    for (auto& seed : stages[0].seeds) seed.erase(seed.begin());
    for (Row& stage : stage_rows(folder / "loops" / name)) stages.push_back(std::move(stage));
    text += fmt::format("\n### The loop from them: {}\n\nLikewise.\n\n{}", rows[row].name, table(stages, false));
  }
  return text;
}

std::string best_tau(const fs::path& sweep) {
  std::ifstream file(sweep / "sweep.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  check(json.is_object() && json.contains("points") && !json["points"].empty(), ErrorKind::kFormat,
        "{}: expected a sweep", (sweep / "sweep.json").string());
  const auto& points = json["points"];
  const auto less = [](const auto& a, const auto& b) {
    const auto value = [](const auto& point) {
      return point.at("metrics").at("mask").at("AP50").template get<double>();
    };
    return value(a) < value(b);
  };
  return std::max_element(points.begin(), points.end(), less)->at("settings").at("tau").template get<std::string>();
}

}  // namespace usol
