#pragma once
// Rows of the tables of scripts/mini-reproduction: the metrics of `usol eval`, a row's mean over seeds and their range,
// and what may be said of two rows.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace usol {

/// A number that `usol eval` writes: {type: {metric: ...}}.
struct MetricColumn {
  const char *type, *metric;
};

/// A row: for each seed the percentages of all columns; a method without randomness has one entry.
struct Row {
  std::string name;
  std::vector<std::vector<double>> seeds;
};

/// The percentages of these columns. Throws Error naming the file that is missing or is not `usol eval`'s.
std::vector<double> read_metrics(const std::filesystem::path& path, std::span<const MetricColumn> columns);
/// folder/seed*, in order. Throws Error if there is none.
std::vector<std::filesystem::path> seed_folders(const std::filesystem::path& folder);

double mean(const Row& row, std::size_t column);
/// The least and the most of the seeds: with three of them, a deviation would say no more.
std::pair<double, double> range(const Row& row, std::size_t column);

/// Compares rows in some columns: each row with the one whose number `other` gives; with none if that is nothing.
struct Comparison {
  std::string name;  // "the row before"
  std::vector<std::size_t> columns;
  std::function<std::optional<std::size_t>(std::size_t)> other;
};
/// A table in Markdown: means, and the range in brackets where there are several seeds. A row may lack its last
/// columns. It is called better or worse than another one only if it is so with every seed.
std::string markdown(std::span<const std::string> columns, std::span<const Row> rows, const Comparison& comparison);

}  // namespace usol
