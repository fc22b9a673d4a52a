#pragma once
// Vectors of objects -> their groups, however many there are, and which objects belong to none.
// Place: the second half of `usol group` (pipeline/group_job.h).

#include <cstdint>
#include <utility>
#include <vector>

#include "usol/maskcut/groups/rows.h"

namespace usol::maskcut {

enum class Grouping { kKmeans, kAgglomerate };

struct GroupOptions {
  Grouping how = Grouping::kKmeans;
  bool whiten = false;  // whitened_rows() first
  /// Of k-means. 0: the number of largest mean silhouette (maskcut/groups/silhouette.h) among 2, 3, 4, 6, 8, 12, 16,
  /// ..., at most `most_groups`, on a sample of kSilhouetteRows.
  std::int64_t groups = 0, most_groups = 64;
  double threshold = 0.5;   // of agglomeration (AgglomerationOptions)
  std::int64_t starts = 4;  // of k-means
  // Which objects are left in no group, in the end; the groups' centres stay as they were found.
  double least_similarity = -1, least_margin = -2;  // less than these
  double deviations = 3;  // similarity lower than their group's mean by more than so many standard deviations; 0: none
  /// Groups of fewer objects. 0: of fewer than two, but where k-means was asked for more groups than could have two
  /// each.
  std::int64_t least_size = 0;
  std::uint64_t seed = 0;
};

inline constexpr std::int64_t kSilhouetteRows = 10000;
inline constexpr std::int64_t kNoGroup = -1;

/// Objects in no group by the reason, the first of these that holds.
struct LeftOut {
  std::int64_t blank = 0;            // rows of zeros
  std::int64_t dissimilar = 0;       // by GroupOptions::least_similarity
  std::int64_t ambiguous = 0;        // least_margin
  std::int64_t outlying = 0;         // deviations
  std::int64_t of_small_groups = 0;  // least_size
  std::int64_t all() const { return blank + dissimilar + ambiguous + outlying + of_small_groups; }
};

struct FoundGroups {
  std::int64_t groups = 0;
  std::int64_t least_size = 0;  // that held
  LeftOut left_out;
  std::vector<std::int64_t> labels;  // 0 ... groups - 1, the largest group first; or kNoGroup
  /// Cosine with the group's centre (for kNoGroup the group's that it was found in), and by how much it exceeds that
  /// with the next one (of a group alone, itself). Negative where agglomeration had another opinion.
  std::vector<float> similarity, margin;
  std::vector<std::pair<std::int64_t, double>> silhouettes;  // by number of groups, where it was to be chosen
};

/// Rows by their directions (once they are whitened, if they are to be); rows of zeros are in no group. Equal arguments
/// give equal results, whatever the number of threads. Memory: as kmeans(), and the sample of kSilhouetteRows. There
/// are no more groups than rows. Throws Error for rows that are not finite and options below one.
FoundGroups find_groups(const Rows& rows, const GroupOptions& options);

}  // namespace usol::maskcut
