#pragma once
// Agglomeration by average linkage: objects are joined, the most alike first, until no two groups are alike enough. How
// many groups there are, the data say.
// Place: groups of `usol group`, beside maskcut/groups/kmeans.h.
// Source: Sokal and Michener 1958 (average linkage); Murtagh 1983 (chains of nearest neighbours). Held to
// scikit-learn's AgglomerativeClustering(linkage="average", metric="cosine").

#include <cstdint>
#include <vector>

#include "usol/maskcut/groups/rows.h"

namespace usol::maskcut {

struct AgglomerationOptions {
  double threshold = 0.5;  // groups whose distance, the mean over their pairs of 1 - cosine, is less are joined
  /// More rows than this are first put into as many small groups by spherical k-means, which then are joined; the
  /// distance between two such groups still is the mean over all pairs of their rows.
  std::int64_t most = 4096;
  std::uint64_t seed = 0;  // of that k-means
};

/// The group of each row, numbered from 0 in the order in which they first occur. A row of zeros has cosine 0 with all.
/// Time grows with the square of the rows that are joined, and memory with their number: the mean over the pairs of
/// two groups comes from the groups' own means. Throws Error as kmeans() where that is needed, and for rows that are
/// not finite.
std::vector<std::int64_t> agglomerate(const Rows& rows, const AgglomerationOptions& options = {});

}  // namespace usol::maskcut
