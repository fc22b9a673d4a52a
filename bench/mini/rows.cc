#include "bench/mini/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

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

}  // namespace

std::vector<double> read_metrics(const fs::path& path, std::span<const MetricColumn> columns) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  check(json.is_object(), ErrorKind::kFormat, "{}: expected metrics of usol eval", path.string());
  std::vector<double> values;
  for (const auto& [type, metric] : columns) {
    const auto found = json.contains(type) ? json[type].value(metric, -2.0) : -2.0;
    check(found > -2, ErrorKind::kFormat, "{}: lacks {}.{}", path.string(), type, metric);
    values.push_back(100 * found);
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

double mean(const Row& row, std::size_t column) {
  double sum = 0;
  for (const auto& values : row.seeds) sum += values[column];
  return sum / static_cast<double>(row.seeds.size());
}

std::pair<double, double> range(const Row& row, std::size_t column) {
  const auto less = [column](const auto& a, const auto& b) { return a[column] < b[column]; };
  const auto [low, high] = std::minmax_element(row.seeds.begin(), row.seeds.end(), less);
  return {(*low)[column], (*high)[column]};
}

std::string markdown(std::span<const std::string> columns, std::span<const Row> rows, const Comparison& comparison) {
  std::string text = "| |", rule = "\n|---|";
  for (const std::string& column : columns) text += fmt::format(" {} |", column);
  for (const std::size_t c : comparison.columns) text += fmt::format(" {} against {} |", columns[c], comparison.name);
  for (std::size_t c = 0; c < columns.size() + comparison.columns.size(); ++c) rule += "---|";
  text += rule + '\n';
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    const std::size_t known = row.seeds[0].size();
    text += fmt::format("| {} |", row.name);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (c >= known) {
        text += " |";
        continue;
      }
      const auto [low, high] = range(row, c);
      text += row.seeds.size() == 1 ? fmt::format(" {:.1f} |", low)
                                    : fmt::format(" {:.1f} ({:.1f} - {:.1f}) |", mean(row, c), low, high);
    }
    const auto other = comparison.other(r);
    for (const std::size_t c : comparison.columns)
      text += other && c < known ? fmt::format(" {} |", verdict(rows[*other], row, c)) : " |";
    text += '\n';
  }
  return text;
}

}  // namespace usol
