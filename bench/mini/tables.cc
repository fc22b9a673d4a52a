#include "bench/mini/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

struct Column {
  const char *type, *metric;
};
constexpr std::array kColumns{Column{"box", "AP50"},  Column{"box", "AP"},  Column{"box", "AR100"},
                              Column{"mask", "AP50"}, Column{"mask", "AP"}, Column{"mask", "AR100"}};
constexpr std::size_t kMaskAp50 = 3, kMaskAp = 4;

using Values = std::array<double, kColumns.size()>;  // percentages

// A row of a table: one entry per seed; a method without randomness has one.
struct Row {
  std::string name;
  std::vector<Values> seeds;
};

Values read_metrics(const fs::path& path) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  check(json.is_object(), ErrorKind::kFormat, "{}: expected metrics of usol eval", path.string());
  Values values{};
  for (std::size_t c = 0; c < kColumns.size(); ++c) {
    const auto [type, metric] = kColumns[c];
    const auto found = json.contains(type) ? json[type].value(metric, -2.0) : -2.0;
    check(found > -2, ErrorKind::kFormat, "{}: lacks {}.{}", path.string(), type, metric);
    values[c] = 100 * found;
  }
  return values;
}

std::vector<fs::path> seed_folders(const fs::path& folder) {
  std::vector<fs::path> seeds;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("seed")) seeds.push_back(entry.path());
  std::sort(seeds.begin(), seeds.end());
  check(!seeds.empty(), ErrorKind::kUsage, "{}: no folder seed*", folder.string());
  return seeds;
}

std::vector<Row> main_rows(const fs::path& folder) {
  std::vector<Row> rows{{"one cut", {read_metrics(folder / "cuts" / "one-metrics.json")}},
                        {"MaskCut", {read_metrics(folder / "cuts" / "three-metrics.json")}}};
  const auto seeds = seed_folders(folder);
  for (int round = 0; fs::exists(seeds[0] / "run" / (round == 0 ? "base" : fmt::format("round{}", round))); ++round) {
    const std::string stage = round == 0 ? "base" : fmt::format("round{}", round);
    Row row{round == 0 ? "detector" : fmt::format("round {}", round), {}};
    for (const fs::path& seed : seeds)
      row.seeds.push_back(read_metrics(seed / "run" / stage / "eval" / "metrics.json"));
    rows.push_back(std::move(row));
  }
  return rows;
}

// What a variation of the first training gave, beside the first training itself.
std::vector<Row> variations(const fs::path& folder, const std::string& prefix, const std::string& base_name) {
  std::vector<Row> rows{
      {base_name, {read_metrics(seed_folders(folder)[0] / "run" / "base" / "eval" / "metrics.json")}}};
  std::vector<std::string> names;
  if (fs::exists(folder / "variations")) {
    for (const auto& entry : fs::directory_iterator(folder / "variations")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(prefix)) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names)
    rows.push_back({name.substr(prefix.size()), {read_metrics(folder / "variations" / name / "metrics.json")}});
  return rows;
}

double mean(const Row& row, std::size_t column) {
  double sum = 0;
  for (const Values& values : row.seeds) sum += values[column];
  return sum / static_cast<double>(row.seeds.size());
}

// The range over the seeds: with three of them, a deviation would say no more.
std::pair<double, double> range(const Row& row, std::size_t column) {
  const auto less = [column](const Values& a, const Values& b) { return a[column] < b[column]; };
  const auto [low, high] = std::minmax_element(row.seeds.begin(), row.seeds.end(), less);
  return {(*low)[column], (*high)[column]};
}

// "better", if it is so with every seed.
std::string verdict(const Row& before, const Row& row, std::size_t column) {
  std::size_t better = 0, worse = 0;
  const std::size_t n = std::max(before.seeds.size(), row.seeds.size());
  const auto at = [column](const Row& r, std::size_t i) { return r.seeds[std::min(i, r.seeds.size() - 1)][column]; };
  for (std::size_t i = 0; i < n; ++i) {
    better += at(row, i) > at(before, i);
    worse += at(row, i) < at(before, i);
  }
  const std::string change = fmt::format("{:+.1f}", mean(row, column) - mean(before, column));
  if (better == n) return change + (n > 1 ? ", better with every seed" : "");
  if (worse == n) return change + (n > 1 ? ", does not help: worse with every seed" : "");
  return fmt::format("{}, no clear help: better with {} of {} seeds", change, better, n);
}

std::string table(const std::vector<Row>& rows, bool against_first) {
  std::string text = "| |";
  for (const Column& c : kColumns) text += fmt::format(" {} {} |", c.type, c.metric);
  const char* other = against_first ? "the first row" : "the row before";
  text += fmt::format(" mask AP50 against {0} | mask AP against {0} |\n|---|", other);
  for (std::size_t c = 0; c < kColumns.size() + 2; ++c) text += "---|";
  text += '\n';
  for (std::size_t r = 0; r < rows.size(); ++r) {
    text += fmt::format("| {} |", rows[r].name);
    for (std::size_t c = 0; c < kColumns.size(); ++c) {
      const auto [low, high] = range(rows[r], c);
      text += rows[r].seeds.size() == 1 ? fmt::format(" {:.1f} |", low)
                                        : fmt::format(" {:.1f} ({:.1f} - {:.1f}) |", mean(rows[r], c), low, high);
    }
    if (r == 0) {
      text += " | |\n";
      continue;
    }
    const Row& before = rows[against_first ? 0 : r - 1];
    text += fmt::format(" {} | {} |\n", verdict(before, rows[r], kMaskAp50), verdict(before, rows[r], kMaskAp));
  }
  return text;
}

}  // namespace

std::string mini_tables(const fs::path& folder) {
  const std::vector<Row> rows = main_rows(folder);
  const std::size_t seeds = rows.back().seeds.size();
  std::string text = fmt::format(
      "### From one cut to the last round\n\nHeld-out scenes; class-agnostic; percent{}.\n\n{}",
      seeds > 1 ? fmt::format("; mean over {} seeds, and their range in brackets", seeds) : "", table(rows, false));
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
      for (const Values& values : rows[r].seeds)
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

}  // namespace usol
