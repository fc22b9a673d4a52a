#include "usol/eval/assignment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "usol/tensor/check.h"

namespace usol::eval {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

// A table with no more rows than columns. Row after row is given a column, along the path of least reduced cost on
// which rows that have one move on to another.
class Paths {
 public:
  Paths(std::vector<double> costs, std::size_t rows, std::size_t columns)
      : costs_(std::move(costs)),
        columns_(columns),
        row_price_(rows),
        column_price_(columns),
        column_of_(rows, kNone),
        row_of_(columns, kNone) {}

  std::vector<std::size_t> columns_of_rows() {
    for (std::size_t row = 0; row < column_of_.size(); ++row) augment(row);
    return column_of_;
  }

 private:
  void augment(std::size_t start) {
    constexpr double kFar = std::numeric_limits<double>::infinity();
    std::vector<double> distance(columns_, kFar);      // of the least path to each column
    std::vector<std::size_t> before(columns_, kNone);  // the row that it comes from
    std::vector<bool> reached(columns_, false);
    std::vector<std::size_t> rows{start};
    double least = 0;
    std::size_t row = start, end = kNone;
    while (end == kNone) {
      std::size_t nearest = kNone;
      double lowest = kFar;
      for (std::size_t c = 0; c < columns_; ++c) {
        if (reached[c]) continue;
        const double through = least + costs_[row * columns_ + c] - row_price_[row] - column_price_[c];
        if (through < distance[c]) {
          distance[c] = through;
          before[c] = row;
        }
        // Of equally near columns one that is free ends the path.
        if (nearest == kNone || distance[c] < lowest || (distance[c] == lowest && row_of_[c] == kNone)) {
          lowest = distance[c];
          nearest = c;
        }
      }
      least = lowest;
      reached[nearest] = true;
      if (row_of_[nearest] == kNone) {
        end = nearest;
      } else {
        row = row_of_[nearest];
        rows.push_back(row);
      }
    }
    row_price_[start] += least;
    for (const std::size_t r : rows)
      if (r != start) row_price_[r] += least - distance[column_of_[r]];
    for (std::size_t c = 0; c < columns_; ++c)
      if (reached[c]) column_price_[c] -= least - distance[c];
    for (std::size_t c = end; c != kNone;) {
      const std::size_t r = before[c];
      row_of_[c] = r;
      std::swap(c, column_of_[r]);
      if (r == start) break;
    }
  }

  std::vector<double> costs_;
  std::size_t columns_;
  std::vector<double> row_price_, column_price_;
  std::vector<std::size_t> column_of_, row_of_;
};

Assignment assignment(std::span<const double> costs, std::int64_t rows, std::int64_t columns, double sign) {
  check(rows >= 0 && columns >= 0 && static_cast<std::int64_t>(costs.size()) == rows * columns,
        "assignment: expected {} x {} costs, got {}", rows, columns, costs.size());
  const bool turned = rows > columns;
  const auto h = static_cast<std::size_t>(rows), w = static_cast<std::size_t>(columns);
  std::vector<double> table(costs.size());
  for (std::size_t r = 0; r < h; ++r)
    for (std::size_t c = 0; c < w; ++c) {
      const double cost = costs[r * w + c];
      check(std::isfinite(cost), "assignment: expected finite costs, got {} in row {}, column {}", cost, r, c);
      table[turned ? c * h + r : r * w + c] = sign * cost;
    }
  const std::vector<std::size_t> partner = Paths(std::move(table), std::min(h, w), std::max(h, w)).columns_of_rows();
  std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
  for (std::size_t i = 0; i < partner.size(); ++i) {
    const auto a = static_cast<std::int64_t>(i), b = static_cast<std::int64_t>(partner[i]);
    pairs.emplace_back(turned ? b : a, turned ? a : b);
  }
  std::sort(pairs.begin(), pairs.end());
  Assignment result;
  for (const auto& [row, column] : pairs) {
    result.rows.push_back(row);
    result.columns.push_back(column);
  }
  return result;
}

}  // namespace

Assignment least_assignment(std::span<const double> costs, std::int64_t rows, std::int64_t columns) {
  return assignment(costs, rows, columns, 1);
}

Assignment largest_assignment(std::span<const double> gains, std::int64_t rows, std::int64_t columns) {
  return assignment(gains, rows, columns, -1);
}

}  // namespace usol::eval
