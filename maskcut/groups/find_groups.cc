#include "usol/maskcut/groups/find_groups.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "usol/maskcut/groups/agglomerate.h"
#include "usol/maskcut/groups/kmeans.h"
#include "usol/maskcut/groups/lane_sum.h"
#include "usol/maskcut/groups/silhouette.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

KmeansOptions kmeans_options(const GroupOptions& options, std::int64_t clusters) {
  return {.clusters = clusters, .spherical = true, .starts = static_cast<int>(options.starts), .seed = options.seed};
}

// 2, 3, 4, 6, 8, 12, 16, ...: steps of about a half.
std::vector<std::int64_t> candidates(std::int64_t most) {
  std::vector<std::int64_t> numbers;
  for (std::int64_t power = 2; power <= most; power *= 2) {
    numbers.push_back(power);
    if (power + power / 2 <= most) numbers.push_back(power + power / 2);
  }
  return numbers;
}

std::int64_t choose_number(const Rows& rows, const GroupOptions& options, FoundGroups& found) {
  Rows sample = rows_of(sample_rows(rows, kSilhouetteRows, options.seed));
  sample.unit = rows.unit;
  std::int64_t best = 1;
  double highest = 0;
  for (const std::int64_t number : candidates(std::min(options.most_groups, sample.count - 1))) {
    const Kmeans groups = kmeans(sample, kmeans_options(options, number));
    const double silhouette = mean_silhouette(sample, groups.labels, number);
    found.silhouettes.emplace_back(number, silhouette);
    if (best == 1 || silhouette > highest) {
      best = number;
      highest = silhouette;
    }
  }
  return best;
}

// Unit means of the labels' rows, f32 [groups, D].
Tensor centres_of(const Rows& rows, const std::vector<std::int64_t>& labels, std::int64_t groups) {
  std::vector<double> sums(at(groups * rows.dim));
  for_windows(rows, [&](std::int64_t first, std::int64_t count, const float* row) {
    for (std::int64_t i = first; i < first + count; ++i, row += rows.dim)
      for (std::int64_t k = 0; k < rows.dim; ++k) sums[at(labels[at(i)] * rows.dim + k)] += static_cast<double>(row[k]);
  });
  Tensor means = Tensor::empty({groups, rows.dim});
  std::copy(sums.begin(), sums.end(), means.mutable_data<float>());
  Tensor centres = Tensor::empty({groups, rows.dim});
  unit_rows(rows_of(means)).read(0, groups, centres.mutable_data<float>());
  return centres;
}

// Fills similarity and margin. A row of zeros is similar to nothing, and in no group.
void measure(const Rows& rows, const Tensor& centres, FoundGroups& found) {
  const std::vector<Nearest> nearest = nearest_centres(rows, centres);
  found.similarity.resize(nearest.size());
  found.margin.resize(nearest.size());
  for_windows(rows, [&](std::int64_t first, std::int64_t count, const float* values) {
    parallel_for(first, first + count, kWindowRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float* row = values + (i - first) * rows.dim;
        const auto cosine = [&](std::int64_t group) {
          const float* centre = centres.data<float>() + group * rows.dim;
          return lane_sum(rows.dim, [=](std::int64_t k) { return static_cast<double>(row[k]) * centre[k]; });
        };
        const std::int64_t own = found.labels[at(i)];
        const std::int64_t other = nearest[at(i)].centre == own ? nearest[at(i)].next : nearest[at(i)].centre;
        const double similarity = cosine(own);
        found.similarity[at(i)] = static_cast<float>(similarity);
        found.margin[at(i)] = static_cast<float>(other < 0 ? similarity : similarity - cosine(other));
        if (std::all_of(row, row + rows.dim, [](float value) { return value == 0; })) found.labels[at(i)] = kNoGroup;
      }
    });
  });
}

// Who asks for more groups than could have two objects each asks for those of one.
std::int64_t least_size(const GroupOptions& options, std::int64_t groups, std::int64_t rows) {
  if (options.least_size > 0) return options.least_size;
  return options.how == Grouping::kKmeans && options.groups > 0 && 2 * groups > rows ? 1 : 2;
}

void leave_out(const GroupOptions& options, std::int64_t groups, FoundGroups& found) {
  std::vector<double> sum(at(groups)), square(at(groups)), size(at(groups)), least(at(groups), -2);
  for (std::size_t i = 0; i < found.labels.size(); ++i) {
    if (found.labels[i] == kNoGroup) {
      ++found.left_out.blank;
      continue;
    }
    const std::size_t g = at(found.labels[i]);
    sum[g] += found.similarity[i];
    ++size[g];
  }
  for (std::size_t i = 0; i < found.labels.size(); ++i) {
    if (found.labels[i] == kNoGroup) continue;
    const std::size_t g = at(found.labels[i]);
    const double away = found.similarity[i] - sum[g] / size[g];
    square[g] += away * away;
  }
  if (options.deviations > 0)
    for (std::size_t g = 0; g < least.size(); ++g)
      if (size[g] > 0) least[g] = sum[g] / size[g] - options.deviations * std::sqrt(square[g] / size[g]) - 1e-6;
  std::vector<std::int64_t> left(at(groups));
  for (std::size_t i = 0; i < found.labels.size(); ++i) {
    std::int64_t& label = found.labels[i];
    if (label == kNoGroup) continue;
    std::int64_t* const reason = found.similarity[i] < options.least_similarity ? &found.left_out.dissimilar
                                 : found.margin[i] < options.least_margin       ? &found.left_out.ambiguous
                                 : found.similarity[i] < least[at(label)]       ? &found.left_out.outlying
                                                                                : nullptr;
    if (reason == nullptr) {
      ++left[at(label)];
      continue;
    }
    ++*reason;
    label = kNoGroup;
  }
  for (std::int64_t& label : found.labels) {
    if (label == kNoGroup || left[at(label)] >= found.least_size) continue;
    ++found.left_out.of_small_groups;
    label = kNoGroup;
  }
}

// The largest group becomes the first; of equally large ones the one whose first row comes first.
void order_by_size(std::int64_t groups, FoundGroups& found) {
  std::vector<std::int64_t> size(at(groups)), order(at(groups)), first(at(groups)), number(at(groups));
  for (std::size_t i = found.labels.size(); i-- > 0;) {
    if (found.labels[i] == kNoGroup) continue;
    ++size[at(found.labels[i])];
    first[at(found.labels[i])] = static_cast<std::int64_t>(i);
  }
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return size[at(a)] != size[at(b)] ? size[at(a)] > size[at(b)] : first[at(a)] < first[at(b)];
  });
  for (std::size_t i = 0; i < order.size(); ++i) number[at(order[i])] = static_cast<std::int64_t>(i);
  for (std::int64_t& label : found.labels)
    if (label != kNoGroup) label = number[at(label)];
  found.groups = std::count_if(size.begin(), size.end(), [](std::int64_t s) { return s > 0; });
}

}  // namespace

FoundGroups find_groups(const Rows& given, const GroupOptions& options) {
  check(options.groups >= 0 && options.most_groups >= 1 && options.starts >= 1 && options.least_size >= 0,
        "groups: expected a number, a bound, starts and a least size that are not negative, and a bound and starts of "
        "at least one, got {}, {}, {} and {}",
        options.groups, options.most_groups, options.starts, options.least_size);
  FoundGroups found;
  if (given.count == 0) return found;
  const Rows rows = unit_rows(options.whiten ? whitened_rows(given) : given);
  std::int64_t groups = 0;
  if (options.how == Grouping::kAgglomerate) {
    found.labels = agglomerate(rows, {.threshold = options.threshold, .seed = options.seed});
    groups = 1 + *std::max_element(found.labels.begin(), found.labels.end());
    measure(rows, centres_of(rows, found.labels, groups), found);
  } else {
    groups = options.groups > 0 ? std::min(options.groups, rows.count) : choose_number(rows, options, found);
    Kmeans clusters = kmeans(rows, kmeans_options(options, groups));
    found.labels = std::move(clusters.labels);
    measure(rows, clusters.centres, found);
  }
  found.least_size = least_size(options, groups, rows.count);
  leave_out(options, groups, found);
  order_by_size(groups, found);
  return found;
}

}  // namespace usol::maskcut
