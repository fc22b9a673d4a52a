#pragma once
// k-means by Lloyd's rounds, of plain or of unit vectors, begun by k-means++: how objects are put into groups of which
// only the number is known.
// Place: groups of `usol group`, pseudo-classes.
// Source: Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++, with the several trials that scikit-learn makes);
// Dhillon and Modha 2001 (spherical). Held to scikit-learn's KMeans.

#include <cstdint>
#include <vector>

#include "usol/maskcut/groups/rows.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct KmeansOptions {
  std::int64_t clusters = 8;
  bool spherical = false;  // rows and centres are taken at unit length, so that near means a high cosine
  int starts = 1;          // runs from other first centres, on a sample of more rows than seeding_rows; the one of
                           // least inertia is kept (there, the rounds over all rows begin at its centres)
  int trials = 0;          // rows that are drawn for each first centre, of which the best is taken; 0: 2 + ln(clusters)
  int iterations = 300;    // most rounds of one run
  double tolerance = 1e-4;  // a run also ends when the centres moved by less than this share of the rows' variance
  std::int64_t seeding_rows = 32768;  // first centres are sought among at most so many rows, a sample
  std::uint64_t seed = 0;
};

struct Kmeans {
  std::vector<std::int64_t> labels;  // of each row, 0 ... clusters - 1
  Tensor centres;                    // f32 [clusters, D], of unit length if spherical
  double inertia = 0;                // sum of the rows' squared distances to their centres
  int iterations = 0;
  bool converged = false;  // false: the last round was the last that was allowed
};

/// How near a row is to the centres.
struct Nearest {
  std::int64_t centre = 0, next = -1;  // the first of equally near ones, and the second nearest; -1: there is one alone
  double least = 0, second = 0;        // squared distances to them, `second` infinite where there is none
};

/// Groups the rows. As scikit-learn's KMeans(init="k-means++", algorithm="lloyd"), but for the random numbers: a centre
/// that loses all rows is put on the row that is farthest from its own. Sums are in f64, distances from products in
/// f32; the result depends on rows and options alone, not on the number of threads. Memory: some 8 MiB of rows at a
/// time, 56 bytes a row, the sample of seeding_rows, and 12 bytes a number of the centres. Throws Error if there are
/// fewer rows than clusters, or rows that are not finite, and on options below one.
Kmeans kmeans(const Rows& rows, const KmeansOptions& options);

/// The same from given centres f32 [clusters, D], without k-means++.
Kmeans kmeans_from(const Rows& rows, const Tensor& centres, const KmeansOptions& options);

/// First centres f32 [clusters, D] by k-means++: each new one is the best of `trials` rows that were drawn with chances
/// by their squared distance to the centres so far. Throws as kmeans().
Tensor kmeans_plus_plus(const Rows& rows, const KmeansOptions& options);

/// The nearest of the centres f32 [clusters, D] for each row, both as they are. Throws Error on other shapes.
std::vector<Nearest> nearest_centres(const Rows& rows, const Tensor& centres);

}  // namespace usol::maskcut
