#include "usol/maskcut/groups/kmeans.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "usol/maskcut/groups/lane_sum.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/serial_scope.h"

namespace usol::maskcut {
namespace {

constexpr std::uint64_t kStream = 0x6b6d6561;  // of the generator
constexpr std::int64_t kBlock = kWindowRows;   // of one product: always as many, whatever the threads are
constexpr std::int64_t kLeastWork = 1 << 17;   // additions that are worth a thread

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

double squared_distance(const float* a, const float* b, std::int64_t dim) {
  return lane_sum(dim, [a, b](std::int64_t k) {
    const double away = static_cast<double>(a[k]) - b[k];
    return away * away;
  });
}

// Finds the nearest centres of rows that are in memory; how far the second nearest is only if `two`.
class Finder {
 public:
  Finder(const Tensor& centres, bool two)
      : centres_(centres.contiguous()),
        count_(centres.size(0)),
        dim_(centres.size(1)),
        two_(two),
        half_squares_(at(count_)) {
    const float* c = centres_.data<float>();
    for (std::int64_t j = 0; j < count_; ++j) {
      double square = 0;
      for (std::int64_t k = 0; k < dim_; ++k) square += static_cast<double>(c[j * dim_ + k]) * c[j * dim_ + k];
      half_squares_[at(j)] = square / 2;
    }
  }

  void find(const float* rows, std::int64_t count, Nearest* to) const {
    const std::int64_t blocks = (count + kBlock - 1) / kBlock;
    parallel_for_each(0, blocks, [&](std::int64_t block) {
      const std::int64_t first = block * kBlock;
      find_block(rows + first * dim_, std::min(kBlock, count - first), to + first);
    });
  }

 private:
  void find_block(const float* rows, std::int64_t count, Nearest* to) const {
    const float* c = centres_.data<float>();
    std::vector<float> products(at(count * count_));
    Gemm<float> g;
    g.transpose_b = true;
    g.m = count;
    g.n = count_;
    g.k = dim_;
    g.a = rows;
    g.lda = dim_;
    g.b = c;
    g.ldb = dim_;
    g.c = products.data();
    g.ldc = count_;
    const SerialScope one_thread;  // also where one block is all there is: the same sums, whatever the threads are
    gemm(g);
    constexpr double kFar = std::numeric_limits<double>::infinity();
    for (std::int64_t i = 0; i < count; ++i) {
      // |x - c|^2 = |x|^2 - 2 x c + |c|^2: of which |x|^2 makes no difference.
      const float* product = products.data() + i * count_;
      double least = kFar, second = kFar;
      std::int64_t best = 0, next = -1;
      for (std::int64_t j = 0; j < count_; ++j) {
        const double d = half_squares_[at(j)] - static_cast<double>(product[j]);
        if (d < least) {
          second = least;
          next = j > 0 ? best : -1;
          least = d;
          best = j;
        } else if (d < second) {
          second = d;
          next = j;
        }
      }
      const float* row = rows + i * dim_;
      to[i] = {best, next, squared_distance(row, c + best * dim_, dim_),
               next < 0 || !two_ ? kFar : squared_distance(row, c + next * dim_, dim_)};
    }
  }

  Tensor centres_;
  std::int64_t count_, dim_;
  bool two_;
  std::vector<double> half_squares_;
};

// Mean of the columns' variances, which makes the tolerance a share. Throws Error for a number that is not finite.
double mean_variance(const Rows& rows) {
  std::vector<double> origin(at(rows.dim)), sum(at(rows.dim)), square(at(rows.dim));
  for_windows(rows, [&](std::int64_t first, std::int64_t count, const float* values) {
    if (first == 0) std::copy(values, values + rows.dim, origin.begin());
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t k = 0; k < rows.dim; ++k) {
        check(std::isfinite(values[i * rows.dim + k]), "k-means: expected finite numbers, got {} in row {}",
              values[i * rows.dim + k], first + i);
        const double away = values[i * rows.dim + k] - origin[at(k)];
        sum[at(k)] += away;
        square[at(k)] += away * away;
      }
  });
  const double n = static_cast<double>(rows.count);
  double total = 0;
  for (std::int64_t k = 0; k < rows.dim; ++k) total += square[at(k)] / n - sum[at(k)] / n * (sum[at(k)] / n);
  return std::max(total, 0.0) / static_cast<double>(rows.dim);
}

void check_arguments(const Rows& rows, const KmeansOptions& options) {
  check(options.clusters >= 1 && options.starts >= 1 && options.iterations >= 1 && options.seeding_rows >= 1,
        "k-means: expected at least one cluster, start, iteration and row for seeding, got {}, {}, {} and {}",
        options.clusters, options.starts, options.iterations, options.seeding_rows);
  check(rows.dim >= 1 && rows.count >= options.clusters, "k-means: {} clusters need as many rows, got {} of {} numbers",
        options.clusters, rows.count, rows.dim);
}

// One run of Lloyd's rounds.
class Lloyd {
 public:
  Lloyd(const Rows& rows, const Tensor& centres, const KmeansOptions& options, double variance)
      : rows_(rows),
        options_(options),
        tolerance_(options.tolerance * variance),
        count_(centres.size(0)),
        centres_(centres.clone()),
        nearest_(at(rows.count)) {
    if (options.spherical) to_unit(centres_.mutable_data<float>());
  }

  Kmeans run() {
    Kmeans result;
    std::vector<std::int64_t> before;
    bool settled = false;  // the labels are those of the centres as they are
    while (!settled && !result.converged && result.iterations < options_.iterations) {
      ++result.iterations;
      std::vector<double> sums = find_and_sum();
      std::vector<std::int64_t> labels(nearest_.size());
      for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = nearest_[i].centre;
      settled = labels == before;
      before = std::move(labels);
      if (settled) break;
      fill_empty(sums);
      result.converged = move_centres(sums) <= tolerance_;
    }
    result.converged |= settled;
    if (!settled) find_and_sum();
    result.labels.resize(nearest_.size());
    for (std::size_t i = 0; i < nearest_.size(); ++i) {
      result.labels[i] = nearest_[i].centre;
      result.inertia += nearest_[i].least;
    }
    result.centres = centres_;
    return result;
  }

 private:
  // Every row's nearest centre; the sum of each centre's rows, [clusters, D], and how many they are.
  std::vector<double> find_and_sum() {
    const Finder finder(centres_, false);
    std::vector<double> sums(at(count_ * rows_.dim));
    members_.assign(at(count_), 0);
    for_windows(rows_, [&](std::int64_t first, std::int64_t count, const float* values) {
      Nearest* nearest = nearest_.data() + first;
      finder.find(values, count, nearest);
      for (std::int64_t i = 0; i < count; ++i) ++members_[at(nearest[i].centre)];
      // A thread has some of the columns, so that rows are added in their order.
      parallel_for(0, rows_.dim, std::max<std::int64_t>(kLeastWork / count, 32),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = 0; i < count; ++i) {
                       double* sum = sums.data() + nearest[i].centre * rows_.dim;
                       const float* row = values + i * rows_.dim;
                       for (std::int64_t k = begin; k < end; ++k) sum[k] += static_cast<double>(row[k]);
                     }
                   });
    });
    return sums;
  }

  // Each centre without rows takes the row that is farthest from its own centre, which loses it.
  void fill_empty(std::vector<double>& sums) {
    const auto empty = std::count(members_.begin(), members_.end(), 0);
    if (empty == 0) return;
    std::vector<std::int64_t> farthest(nearest_.size());
    for (std::size_t i = 0; i < farthest.size(); ++i) farthest[i] = static_cast<std::int64_t>(i);
    std::partial_sort(farthest.begin(), farthest.begin() + empty, farthest.end(), [&](std::int64_t a, std::int64_t b) {
      const double da = nearest_[at(a)].least, db = nearest_[at(b)].least;
      return da != db ? da > db : a < b;
    });
    if (nearest_[at(farthest[0])].least == 0) return;  // rows are all on centres: there is nothing to gain
    std::vector<float> row(at(rows_.dim));
    std::size_t taken = 0;
    for (std::int64_t j = 0; j < count_; ++j) {
      if (members_[at(j)] != 0) continue;
      const std::int64_t i = farthest[taken++];
      const std::int64_t from = nearest_[at(i)].centre;
      rows_.read(i, 1, row.data());
      for (std::int64_t k = 0; k < rows_.dim; ++k) {
        sums[at(j * rows_.dim + k)] = static_cast<double>(row[at(k)]);
        sums[at(from * rows_.dim + k)] -= static_cast<double>(row[at(k)]);
      }
      members_[at(j)] = 1;
      --members_[at(from)];
    }
  }

  // To the means of their rows; a centre without any stays. Returns the sum of the squared ways.
  double move_centres(const std::vector<double>& sums) {
    const Tensor old = centres_;
    centres_ = old.clone();
    float* c = centres_.mutable_data<float>();
    for (std::int64_t j = 0; j < count_; ++j) {
      if (members_[at(j)] <= 0) continue;
      for (std::int64_t k = 0; k < rows_.dim; ++k)
        c[j * rows_.dim + k] = static_cast<float>(sums[at(j * rows_.dim + k)] / static_cast<double>(members_[at(j)]));
    }
    if (options_.spherical) to_unit(c);
    return squared_distance(c, old.data<float>(), count_ * rows_.dim);
  }

  void to_unit(float* centres) const {
    for (std::int64_t j = 0; j < count_; ++j) {
      float* c = centres + j * rows_.dim;
      double square = 0;
      for (std::int64_t k = 0; k < rows_.dim; ++k) square += static_cast<double>(c[k]) * c[k];
      if (square == 0) continue;
      for (std::int64_t k = 0; k < rows_.dim; ++k) c[k] = static_cast<float>(c[k] / std::sqrt(square));
    }
  }

  const Rows& rows_;
  const KmeansOptions& options_;
  double tolerance_;
  std::int64_t count_;
  Tensor centres_;
  std::vector<Nearest> nearest_;
  std::vector<std::int64_t> members_;
};

Rows prepared(const Rows& rows, const KmeansOptions& options) { return options.spherical ? unit_rows(rows) : rows; }

// k-means++ on rows that are all in memory.
Tensor seed_centres(const Tensor& sample, const KmeansOptions& options, Generator& generator) {
  const std::int64_t n = sample.size(0), dim = sample.size(1), clusters = options.clusters;
  const float* values = sample.data<float>();
  const int trials =
      options.trials > 0 ? options.trials : 2 + static_cast<int>(std::log(static_cast<double>(clusters)));
  Tensor centres = Tensor::empty({clusters, dim});
  float* to = centres.mutable_data<float>();
  const auto take = [&](std::int64_t j, std::int64_t row) {
    std::copy(values + row * dim, values + (row + 1) * dim, to + j * dim);
  };
  // Squared distances of all rows to those of `candidates`, one list after the other; none above its row's `most`.
  const auto distances_to = [&](const std::vector<std::int64_t>& candidates, const std::vector<double>& most) {
    std::vector<double> distances(candidates.size() * at(n));
    const std::int64_t work = dim * static_cast<std::int64_t>(candidates.size());
    parallel_for(0, n, kLeastWork / work + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::size_t c = 0; c < candidates.size(); ++c)
          distances[c * at(n) + at(i)] =
              std::min(squared_distance(values + i * dim, values + candidates[c] * dim, dim), most[at(i)]);
    });
    return distances;
  };
  const auto first = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(n)));
  take(0, first);
  std::vector<double> closest(at(n), std::numeric_limits<double>::infinity()), reach(at(n));
  closest = distances_to({first}, closest);
  for (std::int64_t j = 1; j < clusters; ++j) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) reach[at(i)] = sum += closest[at(i)];
    std::vector<std::int64_t> drawn(at(trials));
    for (std::int64_t& row : drawn) {
      const auto found = std::upper_bound(reach.begin(), reach.end(), generator.uniform(0, sum));
      row = std::min<std::int64_t>(found - reach.begin(), n - 1);
    }
    const std::vector<double> with = distances_to(drawn, closest);
    std::size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t t = 0; t < drawn.size(); ++t) {
      double total = 0;
      for (std::size_t i = 0; i < at(n); ++i) total += with[t * at(n) + i];
      if (total >= least) continue;
      best = t;
      least = total;
    }
    take(j, drawn[best]);
    std::copy_n(with.begin() + static_cast<std::ptrdiff_t>(best * at(n)), n, closest.begin());
  }
  return centres;
}

}  // namespace

Tensor kmeans_plus_plus(const Rows& rows, const KmeansOptions& options) {
  check_arguments(rows, options);
  Generator generator(options.seed, kStream);
  const Tensor sample =
      sample_rows(prepared(rows, options), std::max(options.seeding_rows, options.clusters), options.seed);
  return seed_centres(sample, options, generator);
}

Kmeans kmeans(const Rows& given, const KmeansOptions& options) {
  check_arguments(given, options);
  const Rows rows = prepared(given, options);
  const double variance = mean_variance(rows);
  Generator generator(options.seed, kStream);
  const Tensor sample = sample_rows(rows, std::max(options.seeding_rows, options.clusters), options.seed);
  // More rows than the sample begin where the best start on the sample ended: few rounds over all of them are left.
  const bool sampled = sample.size(0) < rows.count;
  const Rows tried = sampled ? rows_of(sample) : rows;
  Kmeans best;
  for (int start = 0; start < options.starts; ++start) {
    Kmeans one = Lloyd(tried, seed_centres(sample, options, generator), options, variance).run();
    if (start == 0 || one.inertia < best.inertia) best = std::move(one);
  }
  return sampled ? Lloyd(rows, best.centres, options, variance).run() : best;
}

Kmeans kmeans_from(const Rows& given, const Tensor& centres, const KmeansOptions& options) {
  check_arguments(given, options);
  check(centres.defined() && centres.dtype() == DType::kF32 && centres.shape() == (Shape{options.clusters, given.dim}),
        "k-means: expected centres f32 [{}, {}], got {} {}", options.clusters, given.dim, centres.dtype(),
        centres.shape());
  const Rows rows = prepared(given, options);
  return Lloyd(rows, centres.contiguous(), options, mean_variance(rows)).run();
}

std::vector<Nearest> nearest_centres(const Rows& rows, const Tensor& centres) {
  check(centres.defined() && centres.dtype() == DType::kF32 && centres.rank() == 2 && centres.size(0) >= 1 &&
            centres.size(1) == rows.dim,
        "nearest centres: expected centres f32 [K, {}], got {} {}", rows.dim, centres.dtype(), centres.shape());
  const Finder finder(centres, true);
  std::vector<Nearest> nearest(at(rows.count));
  for_windows(rows, [&](std::int64_t first, std::int64_t count, const float* values) {
    finder.find(values, count, nearest.data() + first);
  });
  return nearest;
}

}  // namespace usol::maskcut
