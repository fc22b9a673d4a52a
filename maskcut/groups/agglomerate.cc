#include "usol/maskcut/groups/agglomerate.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>

#include "usol/maskcut/groups/kmeans.h"
#include "usol/maskcut/groups/lane_sum.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

constexpr int kSmallGroupRounds = 3;          // of k-means, whose groups only have to be small
constexpr std::int64_t kLeastWork = 1 << 17;  // multiplications that are worth a thread
constexpr std::size_t kNone = static_cast<std::size_t>(-1);

// Groups by the means of their unit rows, which are not of unit length: the mean cosine over the pairs of two groups is
// the product of their means.
class Groups {
 public:
  Groups(std::vector<double> means, std::vector<double> sizes, std::int64_t dim)
      : means_(std::move(means)), sizes_(std::move(sizes)), dim_(static_cast<std::size_t>(dim)) {}

  std::size_t size() const { return sizes_.size(); }
  bool alive(std::size_t i) const { return sizes_[i] > 0; }

  double distance(std::size_t a, std::size_t b) const {
    const double *x = &means_[a * dim_], *y = &means_[b * dim_];
    return 1 - lane_sum(static_cast<std::int64_t>(dim_), [x, y](std::int64_t k) { return x[k] * y[k]; });
  }

  // The group nearest to a; of equally near ones `before`, else the first.
  std::pair<std::size_t, double> nearest(std::size_t a, std::size_t before) {
    distances_.assign(size(), std::numeric_limits<double>::infinity());
    const std::int64_t grain = kLeastWork / static_cast<std::int64_t>(dim_) + 1;
    parallel_for(0, static_cast<std::int64_t>(size()), grain, [&](std::int64_t first, std::int64_t last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
        if (i != a && alive(i)) distances_[i] = distance(a, i);
    });
    std::size_t best = before;
    for (std::size_t i = 0; i < size(); ++i)
      if (i != a && alive(i) && (best == kNone || distances_[i] < distances_[best])) best = i;
    return {best, distances_[best]};
  }

  // a takes the rows of b.
  void join(std::size_t a, std::size_t b) {
    const double total = sizes_[a] + sizes_[b];
    for (std::size_t k = 0; k < dim_; ++k)
      means_[a * dim_ + k] = (sizes_[a] * means_[a * dim_ + k] + sizes_[b] * means_[b * dim_ + k]) / total;
    sizes_[a] = total;
    sizes_[b] = 0;
  }

 private:
  std::vector<double> means_, sizes_, distances_;
  std::size_t dim_;
};

struct Join {
  std::size_t a, b;
  double distance;
};

// All joins down to one group. Two groups that are each other's nearest stay so whatever else is joined, so they can be
// joined at once.
std::vector<Join> joins(Groups& groups) {
  std::vector<Join> made;
  std::vector<std::size_t> chain;
  std::size_t next = 0;
  while (made.size() + 1 < groups.size()) {
    if (chain.empty()) {
      while (!groups.alive(next)) ++next;
      chain.push_back(next);
    }
    const std::size_t top = chain.back(), before = chain.size() > 1 ? chain[chain.size() - 2] : kNone;
    const auto [nearest, distance] = groups.nearest(top, before);
    if (nearest != before) {
      chain.push_back(nearest);
      continue;
    }
    chain.resize(chain.size() - 2);
    groups.join(std::min(top, before), std::max(top, before));
    made.push_back({std::min(top, before), std::max(top, before), distance});
  }
  return made;
}

std::size_t root(std::vector<std::size_t>& parent, std::size_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

}  // namespace

std::vector<std::int64_t> agglomerate(const Rows& given, const AgglomerationOptions& options) {
  check(options.most >= 1, "agglomeration: expected at least one group to begin with, got {}", options.most);
  const Rows rows = unit_rows(given);
  const auto n = static_cast<std::size_t>(rows.count), dim = static_cast<std::size_t>(rows.dim);
  // What is joined: each row, or small groups of them.
  std::vector<std::size_t> item(n);
  std::size_t items = n;
  if (rows.count > options.most) {
    const Kmeans small = kmeans(rows, {.clusters = options.most,
                                       .spherical = true,
                                       .trials = 1,
                                       .iterations = kSmallGroupRounds,
                                       .seeding_rows = 4 * options.most,
                                       .seed = options.seed});
    std::vector<std::size_t> number(static_cast<std::size_t>(options.most), kNone);
    items = 0;
    for (std::size_t i = 0; i < n; ++i) {
      std::size_t& of_group = number[static_cast<std::size_t>(small.labels[i])];
      if (of_group == kNone) of_group = items++;
      item[i] = of_group;
    }
  } else {
    std::iota(item.begin(), item.end(), std::size_t{0});
  }
  std::vector<double> means(items * dim), sizes(items);
  for_windows(rows, [&](std::int64_t first, std::int64_t count, const float* row) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(first + count); ++i, row += dim) {
      for (std::size_t k = 0; k < dim; ++k) {
        check(std::isfinite(row[k]), "agglomeration: expected finite numbers, got {} in row {}", row[k], i);
        means[item[i] * dim + k] += static_cast<double>(row[k]);
      }
      ++sizes[item[i]];
    }
  });
  for (std::size_t i = 0; i < items; ++i)
    for (std::size_t k = 0; k < dim; ++k) means[i * dim + k] /= sizes[i];

  Groups groups(std::move(means), std::move(sizes), rows.dim);
  std::vector<std::size_t> parent(items);
  std::iota(parent.begin(), parent.end(), std::size_t{0});
  for (const Join& join : joins(groups))
    if (join.distance < options.threshold) parent[root(parent, join.b)] = root(parent, join.a);

  std::vector<std::int64_t> number(items, -1), labels(n);
  std::int64_t count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::int64_t& of_group = number[root(parent, item[i])];
    if (of_group < 0) of_group = count++;
    labels[i] = of_group;
  }
  return labels;
}

}  // namespace usol::maskcut
