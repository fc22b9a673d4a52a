#pragma once
// Bisecting k-means: one normalized cut finds the foreground, whose features are then split in two again and again.
// Source: Lim et al. 2022, "K-means for Unsupervised Instance Segmentation Using a Self-Supervised Transformer", in
// outline; the details were chosen here (docs/deviations.md).

#include <cstdint>

#include "usol/maskcut/baselines/discovery.h"
#include "usol/maskcut/ncut.h"

namespace usol::maskcut {

struct BisectingKmeansOptions {
  double tau = 0.2;        // of the cut, see TokenCutOptions
  double eps = 1e-5;       //
  int clusters = 3;        // most clusters, so most objects
  double min_area = 0.01;  // objects of at most this share of the map are dropped
  int trials = 10;         // starts of each split; the one of least distance is kept
  int iterations = 100;    // most rounds of k-means
  std::uint64_t seed = 0;
  Eigensolver eigensolver = Eigensolver::kLanczos;
};

/// Objects, the largest first. Foreground is the side of the cut that holds its most extreme patch. All distances are
/// 1 - cosine. Until there are options.clusters clusters, the one of largest total distance to its centre is split by
/// 2-means; after each split k-means goes on over all clusters until no patch changes its cluster. An object is the
/// largest component of a cluster; its seed is its patch nearest to the cluster's centre.
/// Equal arguments give equal results. features: k of the last block as for tokencut(). Throws Error when shapes,
/// dtypes or options are not as said.
std::vector<Discovery> bisecting_kmeans(const Tensor& features, std::int64_t patch, const Size& picture,
                                        const BisectingKmeansOptions& options = {});

}  // namespace usol::maskcut
