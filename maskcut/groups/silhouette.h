#pragma once
// How well rows lie in their groups: the criterion by which the number of groups is chosen.
// Source: Rousseeuw 1987; equal to scikit-learn's silhouette_score with the cosine metric.

#include <cstdint>
#include <vector>

#include "usol/maskcut/groups/rows.h"

namespace usol::maskcut {

/// The mean over the rows of (b - a) / max(a, b), -1 ... 1: a is the mean of 1 - cosine to the other rows of the row's
/// group, b the least such mean over another group; 0 for a row that is alone in its group. `labels`: 0 ... groups - 1.
/// Since the mean cosine to a group is the product with the group's mean, this takes rows x groups products and not the
/// rows' square. Throws Error unless each row has a label and there are at least two groups.
double mean_silhouette(const Rows& rows, const std::vector<std::int64_t>& labels, std::int64_t groups);

}  // namespace usol::maskcut
