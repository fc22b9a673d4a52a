#include "usol/maskcut/groups/silhouette.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "usol/maskcut/groups/lane_sum.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {

double mean_silhouette(const Rows& given, const std::vector<std::int64_t>& labels, std::int64_t groups) {
  check(static_cast<std::int64_t>(labels.size()) == given.count && groups >= 2 && given.count >= 2,
        "silhouette: expected a label for each of {} rows and at least two groups, got {} and {}", given.count,
        labels.size(), groups);
  const Rows rows = unit_rows(given);
  const auto dim = static_cast<std::size_t>(rows.dim), count = static_cast<std::size_t>(groups);
  std::vector<double> sums(count * dim), sizes(count);
  std::vector<float> row(dim);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    check(labels[i] >= 0 && labels[i] < groups, "silhouette: expected labels of 0 ... {}, got {}", groups - 1,
          labels[i]);
    const auto g = static_cast<std::size_t>(labels[i]);
    rows.read(static_cast<std::int64_t>(i), 1, row.data());
    for (std::size_t k = 0; k < dim; ++k) sums[g * dim + k] += static_cast<double>(row[k]);
    ++sizes[g];
  }
  double total = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto own = static_cast<std::size_t>(labels[i]);
    if (sizes[own] < 2) continue;
    rows.read(static_cast<std::int64_t>(i), 1, row.data());
    double self = 0;
    for (const float value : row) self += static_cast<double>(value) * value;
    double inside = 0, outside = std::numeric_limits<double>::infinity();
    for (std::size_t g = 0; g < count; ++g) {
      if (sizes[g] == 0) continue;
      const double* sum = &sums[g * dim];
      const double dot = lane_sum(
          rows.dim, [&](std::int64_t k) { return static_cast<double>(row[static_cast<std::size_t>(k)]) * sum[k]; });
      if (g == own)
        inside = 1 - (dot - self) / (sizes[g] - 1);
      else
        outside = std::min(outside, 1 - dot / sizes[g]);
    }
    const double larger = std::max(inside, outside);
    if (larger > 0 && outside < std::numeric_limits<double>::infinity()) total += (outside - inside) / larger;
  }
  return total / static_cast<double>(labels.size());
}

}  // namespace usol::maskcut
