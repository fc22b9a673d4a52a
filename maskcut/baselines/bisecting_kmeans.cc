#include "usol/maskcut/baselines/bisecting_kmeans.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <utility>

#include "usol/maskcut/affinity.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

using Vector = std::vector<double>;

// The foreground's features: unit rows.
struct Points {
  std::vector<std::int64_t> patches;  // row-major patch of each row
  std::int64_t dim = 0;
  std::vector<float> rows;

  std::size_t size() const { return patches.size(); }
  std::span<const float> row(std::size_t i) const {
    return {rows.data() + i * static_cast<std::size_t>(dim), static_cast<std::size_t>(dim)};
  }
};

AffinityOptions affinity_of(const BisectingKmeansOptions& options) {
  return {.tau = options.tau, .inclusive = false, .eps = options.eps};
}

double distance(std::span<const float> point, const Vector& centre) {
  double dot = 0;
  for (std::size_t k = 0; k < point.size(); ++k) dot += static_cast<double>(point[k]) * centre[k];
  return 1 - dot;
}

Vector unit(Vector v) {
  const double length = std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
  for (double& value : v) value /= std::max(length, 1e-12);
  return v;
}

struct Clustering {
  std::vector<std::size_t> cluster;  // of each member
  std::vector<Vector> centres;       // unit
  Vector total;                      // distance of each cluster's members to its centre

  double sum() const { return std::accumulate(total.begin(), total.end(), 0.0); }
};

// k-means on `members` from the given centres; clusters that lose all members are dropped.
Clustering k_means(const Points& points, const std::vector<std::size_t>& members, std::vector<Vector> centres,
                   int iterations) {
  Clustering result;
  result.centres = std::move(centres);
  const std::size_t none = result.centres.size();
  result.cluster.assign(members.size(), none);
  for (int round = 0; round < iterations; ++round) {
    bool changed = false;
    for (std::size_t i = 0; i < members.size(); ++i) {
      std::size_t best = 0;
      double least = distance(points.row(members[i]), result.centres[0]);
      for (std::size_t c = 1; c < result.centres.size(); ++c) {
        const double d = distance(points.row(members[i]), result.centres[c]);
        if (d < least) {
          least = d;
          best = c;
        }
      }
      changed |= best != result.cluster[i];
      result.cluster[i] = best;
    }
    if (!changed) break;
    std::vector<Vector> sums(result.centres.size(), Vector(static_cast<std::size_t>(points.dim)));
    std::vector<std::size_t> count(sums.size());
    for (std::size_t i = 0; i < members.size(); ++i) {
      const auto row = points.row(members[i]);
      Vector& sum = sums[result.cluster[i]];
      for (std::size_t k = 0; k < row.size(); ++k) sum[k] += row[k];
      ++count[result.cluster[i]];
    }
    std::vector<std::size_t> renumbered(sums.size());
    result.centres.clear();
    for (std::size_t c = 0; c < sums.size(); ++c) {
      renumbered[c] = result.centres.size();
      if (count[c] > 0) result.centres.push_back(unit(std::move(sums[c])));
    }
    for (std::size_t& c : result.cluster) c = renumbered[c];
  }
  result.total.assign(result.centres.size(), 0);
  for (std::size_t i = 0; i < members.size(); ++i)
    result.total[result.cluster[i]] += distance(points.row(members[i]), result.centres[result.cluster[i]]);
  return result;
}

// Two centres for `members`: one at random, one at random among the others, the farther the likelier (k-means++).
std::vector<Vector> two_centres(const Points& points, const std::vector<std::size_t>& members, Generator& generator) {
  const auto centre = [&](std::size_t member) {
    const auto row = points.row(members[member]);
    return Vector(row.begin(), row.end());
  };
  const Vector first = centre(static_cast<std::size_t>(generator.below(members.size())));
  Vector reach(members.size());
  double sum = 0;
  for (std::size_t i = 0; i < members.size(); ++i)
    reach[i] = sum += std::max(0.0, distance(points.row(members[i]), first));
  const double target = generator.uniform(0, sum);
  const auto found = std::upper_bound(reach.begin(), reach.end(), target);
  const auto second = std::min(static_cast<std::size_t>(found - reach.begin()), members.size() - 1);
  return {first, centre(second)};
}

// The best of several splits of `members`, or nothing if they are all alike.
std::vector<Vector> split(const Points& points, const std::vector<std::size_t>& members,
                          const BisectingKmeansOptions& options, Generator& generator) {
  Clustering best;
  for (int trial = 0; trial < options.trials; ++trial) {
    Clustering one = k_means(points, members, two_centres(points, members, generator), options.iterations);
    if (one.centres.size() == 2 && (best.centres.empty() || one.sum() < best.sum())) best = std::move(one);
  }
  return best.centres;
}

Clustering bisect(const Points& points, const BisectingKmeansOptions& options) {
  std::vector<std::size_t> all(points.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  Generator generator(options.seed);
  Vector mean(static_cast<std::size_t>(points.dim));
  for (const std::size_t i : all)
    for (std::size_t k = 0; k < mean.size(); ++k) mean[k] += points.row(i)[k];
  Clustering clustering = k_means(points, all, {unit(mean)}, options.iterations);
  while (clustering.centres.size() < static_cast<std::size_t>(options.clusters)) {
    const auto worst = static_cast<std::size_t>(std::max_element(clustering.total.begin(), clustering.total.end()) -
                                                clustering.total.begin());
    std::vector<std::size_t> members;
    for (const std::size_t i : all)
      if (clustering.cluster[i] == worst) members.push_back(i);
    const std::vector<Vector> halves = split(points, members, options, generator);
    if (halves.empty()) break;
    std::vector<Vector> centres = clustering.centres;
    centres[worst] = halves[0];
    centres.push_back(halves[1]);
    Clustering refined = k_means(points, all, std::move(centres), options.iterations);
    const bool grew = refined.centres.size() > clustering.centres.size();
    clustering = std::move(refined);
    if (!grew) break;
  }
  return clustering;
}

}  // namespace

std::vector<Discovery> bisecting_kmeans(const Tensor& features, std::int64_t patch, const Size& picture,
                                        const BisectingKmeansOptions& options) {
  check_patch_features("bisecting k-means", features, patch, picture);
  check(options.clusters >= 1 && options.trials >= 1 && options.iterations >= 1,
        "bisecting k-means: expected at least one cluster, trial and iteration, got {}, {} and {}", options.clusters,
        options.trials, options.iterations);
  const std::int64_t height = features.size(1), width = features.size(2), n = height * width, dim = features.size(0);
  const Tensor columns = normalize_features(features.contiguous().reshape({dim, n}));
  const PatchGraph graph(columns, affinity_of(options));
  const CutVectors cut = smallest_eigenvectors(graph, 1, options.eigensolver);
  if (cut.found() == 0) return {};
  const Vector x = cut.vectors.select(0, 0).contiguous().to_vector<double>();
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(n);
  Points points;
  points.dim = dim;
  for (std::int64_t i = 0; i < n; ++i)
    if (x[static_cast<std::size_t>(i)] > mean) points.patches.push_back(i);
  points.rows.reserve(points.size() * static_cast<std::size_t>(dim));
  const float* value = columns.data<float>();
  for (const std::int64_t i : points.patches)
    for (std::int64_t k = 0; k < dim; ++k) points.rows.push_back(value[k * n + i]);

  const Clustering clustering = bisect(points, options);
  std::vector<Discovery> objects;
  for (std::size_t c = 0; c < clustering.centres.size(); ++c) {
    Tensor members = Tensor::zeros({height, width}, DType::kU8);
    std::uint8_t* m = members.mutable_data<std::uint8_t>();
    for (std::size_t i = 0; i < points.size(); ++i) m[points.patches[i]] = clustering.cluster[i] == c;
    Discovery object;
    object.mask = largest_component(members);
    if (static_cast<double>(mask_area(object.mask)) <= options.min_area * static_cast<double>(n)) continue;
    const std::uint8_t* inside = object.mask.data<std::uint8_t>();
    double least = 3;
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (inside[points.patches[i]] == 0) continue;
      const double d = distance(points.row(i), clustering.centres[c]);
      if (d < least) {
        least = d;
        object.seed = points.patches[i];
      }
    }
    object.box = pixel_box(object.mask, patch, picture);
    objects.push_back(std::move(object));
  }
  std::stable_sort(objects.begin(), objects.end(),
                   [](const Discovery& a, const Discovery& b) { return mask_area(a.mask) > mask_area(b.mask); });
  return objects;
}

namespace {

class BisectingKmeans : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings.add("tau NUMBER", options_.tau, "Patches are connected above this cosine").between(-1, 1);
    settings.add("clusters N", clusters_, "Most objects a picture can get").at_least(1);
  }
  std::string why_undivided() const override { return why_all_connected(options_.tau, false); }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    BisectingKmeansOptions options = options_;
    options.clusters = static_cast<int>(clusters_);
    options.seed = scene.options.seed;
    const auto objects = bisecting_kmeans(scene.maps.features, scene.patch, scene.pixels, options);
    DiscoveredObjects found = in_picture(objects, scene);
    found.undivided = objects.empty() && all_connected(scene.maps.features, affinity_of(options));
    return found;
  }

 private:
  BisectingKmeansOptions options_;
  std::int64_t clusters_ = options_.clusters;
};
const RegisterDiscoverer<BisectingKmeans> kBisectingKmeans("bisecting-kmeans",
                                                           "the foreground of one cut, split again and again");

}  // namespace

}  // namespace usol::maskcut
